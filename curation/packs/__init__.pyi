from .pack import (
    HashingWriter as HashingWriter,
    PackEntry as PackEntry,
    iter_pack as iter_pack,
    read_frame as read_frame,
    write_pack as write_pack,
)
from .preview import thumbnail as thumbnail
