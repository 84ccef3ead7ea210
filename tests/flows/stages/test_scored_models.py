"""What a person calls a backbone, and which weights it finds."""

from pathlib import Path

import pytest
import torch
import torchvision

from evaluation.backbone import load_backbone
from flows.stages.scored_models import scored_model
from warehouse.lake import Lake, open_lake
from warehouse.store import file_sha256


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return open_lake(tmp_path_factory.mktemp("lake"), create=True)


def test_a_name_a_folder_and_a_file_of_weights(lake: Lake, tmp_path: Path) -> None:
    named, artifact = scored_model(lake, "efficientnet-lite0")
    assert (named.label, artifact.kind, artifact.artifact_id) == ("efficientnet-lite0", "encoder", named.model_id)
    folder, artifact = scored_model(lake, named.path)
    assert artifact.sha256 == folder.model_id == file_sha256(Path(named.path) / "model.safetensors")
    assert scored_model(lake, f"{named.path}/model.safetensors")[0] == folder

    weights = tmp_path / "RN50_GastroNet.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    model, artifact = scored_model(lake, str(weights))
    assert (model.label, artifact.sha256, model.model_id) == ("RN50_GastroNet", file_sha256(weights), file_sha256(weights))
    assert load_backbone(model, device="cpu").image_size == 224


def test_what_is_no_backbone_is_refused_under_the_option_it_was_given_to(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(ValueError, match=r"--model .*empty is a folder without model.safetensors"):
        scored_model(lake, str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"--model .*notes.txt holds more than tensors, or is no file of torch"):
        scored_model(lake, str(tmp_path / "notes.txt"))
    with pytest.raises(ValueError, match=r"--model vit_colossal.*and 'vit_colossal' is no finished pretraining run"):
        scored_model(lake, "vit_colossal")
