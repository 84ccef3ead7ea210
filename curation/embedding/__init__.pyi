from .batches import group_packs as group_packs
from .config import EmbedConfig as EmbedConfig
from .embed import (
    EMBED_VERSION as EMBED_VERSION,
    batch_size_on as batch_size_on,
    embed_images as embed_images,
    embed_packs as embed_packs,
    remove_unused_pieces as remove_unused_pieces,
    whole_parts as whole_parts,
)
from .encoder import Encoder as Encoder, id_of as id_of, load_encoder as load_encoder, published as published
from .encoder_name import (
    OFFLINE_ENCODER as OFFLINE_ENCODER,
    check_timm_name as check_timm_name,
    installed_encoders as installed_encoders,
    local_folder as local_folder,
)
from .encoder_source import EncoderSource as EncoderSource, Preprocessing as Preprocessing
from .export import export_encoder as export_encoder
from .preprocess import decode_image as decode_image
from .registry import ENCODERS as ENCODERS, find_encoder as find_encoder
from .vector_file import VectorFile as VectorFile, open_vectors as open_vectors, write_vectors as write_vectors
from .vectors import (
    gather_vectors as gather_vectors,
    read_part as read_part,
    vectors_in_order as vectors_in_order,
    vectors_of as vectors_of,
)
