"""The plan of a run against modules, tensors, torch's counter, and what one H100 took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretrain.cards import CARDS, MEASURED, Measured
from pretrain.config import HeadConfig, PretrainConfig
from pretrain.flops import hidden_patches, recomputed_flops, step_flops
from pretrain.model import Network
from pretrain.parallel import current_worker
from pretrain.plan import RecordedSpeed, count_parameters, memory_parts, plan_pretraining, student_sizes, what_fits
from pretrain.recipes import recipe
from pretrain.state import build_state, state_tensors

H100 = CARDS["H100"]


def sized(config: PretrainConfig, batch_size: int, *, recompute: bool = False) -> PretrainConfig:
    model = replace(config.model, activation_checkpointing=recompute)
    return replace(config, model=model, train=replace(config.train, batch_size=batch_size))


def as_measured(name: str, rate: float) -> PretrainConfig:
    """vits14 and vitb14 as they were when they were measured: two heads of 65,536 prototypes."""
    base, head = recipe(f"{name}-long"), HeadConfig()
    return replace(base, dino_head=head, ibot_head=head, model=replace(base.model, drop_path_rate=rate))


TIMED = {384: as_measured("vits14", 0.1), 768: as_measured("vitb14", 0.2), 1024: recipe("vitl14")}


@pytest.mark.parametrize(
    ("name", "backbone"), [("vits14", 21_629_952), ("vitb14", 85_727_232), ("vitl14", 303_230_976), ("vitg14", 1_134_774_272)]
)
def test_backbones_have_the_published_number_of_parameters_at_224_pixels(name: str, backbone: int) -> None:
    # DINOv2's card says 21, 86, 300 and 1,100 million
    assert count_parameters(student_sizes(recipe(name))).backbone == backbone


def test_parameters_of_a_real_student_are_counted_by_part(micro: PretrainConfig) -> None:
    network = Network(micro)
    counted = count_parameters(network)
    assert counted.total == sum(parameter.numel() for parameter in network.parameters())
    # 24 -> 16 -> 16 -> 8 with biases, then 24 prototypes of 8 and their lengths
    assert counted.heads == 2 * (24 * 16 + 16 + 16 * 16 + 16 + 16 * 8 + 8 + 24 * 8 + 24)
    assert counted.other == 24


def test_memory_of_the_state_is_that_of_its_tensors(micro: PretrainConfig) -> None:
    state = build_state(micro, current_worker(micro.train, use_gpu=False))
    held: dict[str, int] = {}
    for name, tensor in state_tensors(state).items():
        part = "moments" if name.startswith("optimizer.exp") else name.split(".")[0]
        held[part] = held.get(part, 0) + tensor.nbytes
    parts = memory_parts(micro, state.student_network, num_gpus=1)
    assert parts["student's weights"] == parts["gradients"] == held["student"]
    assert parts["teacher's weights"] == held["teacher"]
    assert parts["AdamW's two moments"] == held["moments"]


@pytest.mark.parametrize(
    ("dim", "batch_size", "peak_gb"),
    [(384, 128, 25.5), (384, 256, 49.4), (768, 64, 22.5), (768, 128, 42.0), (1024, 32, 28.4), (1024, 64, 48.5)],
)
def test_memory_is_within_four_percent_of_what_an_h100_took(dim: int, batch_size: int, peak_gb: float) -> None:
    config = sized(TIMED[dim], batch_size)
    parts = memory_parts(config, student_sizes(config), num_gpus=1)
    assert sum(parts.values()) / 1e9 == pytest.approx(peak_gb, rel=0.04)


def test_bf16_residuals_save_what_they_saved_there() -> None:
    config = sized(TIMED[1024], 64)
    config = replace(config, train=replace(config.train, residual="bf16"))
    assert sum(memory_parts(config, student_sizes(config), num_gpus=1).values()) / 1e9 == pytest.approx(45.5, rel=0.04)


@pytest.mark.parametrize("each", MEASURED, ids=str)
def test_measured_shares_of_the_peak_follow_from_the_measured_speeds(each: Measured) -> None:
    config = sized(TIMED[each.dim], each.batch_size)
    plan = plan_pretraining(config, CARDS[each.card], num_gpus=1)
    assert plan.speed.mfu == each.mfu
    assert plan.speed.images_per_s == pytest.approx(each.images_per_s, rel=0.005)


def test_hours_are_those_of_the_slower_of_gpus_and_loading() -> None:
    config = sized(recipe("vits14"), 2048)
    plan = plan_pretraining(config, H100, num_gpus=8)
    assert plan.loader_images_per_s == 24 * 12 * 8 < plan.speed.images_per_s
    assert plan.hours == pytest.approx(125_000 * 2048 / 2304 / 3600)
    fed = replace(config, train=replace(config.train, num_loader_workers=100))
    quick = plan_pretraining(fed, H100, num_gpus=8)
    assert quick.hours == pytest.approx(125_000 * 2048 / quick.speed.images_per_s / 3600)
    with pytest.raises(ValueError, match="3 GPUs cannot share batches of 2048 images evenly"):
        plan_pretraining(config, H100, num_gpus=3)


def test_a_recorded_run_on_such_a_card_replaces_the_constants_and_another_does_not() -> None:
    config = recipe("small")
    longer = replace(config, train=replace(config.train, num_steps=250_000))

    def run(run_id: str, device: str, images_per_s: float, of: PretrainConfig = config) -> RecordedSpeed:
        return RecordedSpeed(run_id=run_id, config=of, device=device, num_workers=2, images_per_s=images_per_s)

    runs = (
        run("old", "NVIDIA H100 80GB HBM3", 900.0),
        run("new", "NVIDIA H100 80GB HBM3", 1000.0),
        run("card", "NVIDIA A100-SXM4-80GB", 300.0),
        run("size", "NVIDIA H100 80GB HBM3", 100.0, recipe("vitb14")),
    )
    plan = plan_pretraining(longer, H100, num_gpus=4, recorded=runs)
    assert plan.speed.images_per_s == pytest.approx(2000.0)
    assert plan.speed.source.startswith("recorded by new: 1,000 images a second on 2 x NVIDIA H100")
    assert plan.hours == pytest.approx(250_000 * 128 / 2000 / 3600)
    assert not plan_pretraining(longer, CARDS["L40S"], num_gpus=4, recorded=runs).speed.is_recorded


def test_what_does_not_fit_is_told_with_what_does() -> None:
    config = recipe("vits14")
    found = what_fits(config, H100, num_gpus=1)
    assert found.num_gpus == 4  # 512 images each, with logits in chunks
    assert found.num_gpus_recomputing == 1
    assert found.batch_size is not None
    for batch_size, fits in ((found.batch_size, True), (found.batch_size + 2, False)):
        total = sum(memory_parts(sized(config, batch_size), student_sizes(config), num_gpus=1).values())
        assert (total <= 80e9) == fits
    assert what_fits(recipe("vitg14"), CARDS["A100-40"], num_gpus=1).num_gpus == 32


def test_sharding_divides_the_state_and_adds_what_is_gathered() -> None:
    config = recipe("vitg14")
    network = student_sizes(config)
    one, many = memory_parts(config, network, num_gpus=1), memory_parts(config, network, num_gpus=32)
    assert many["AdamW's two moments"] * 32 == pytest.approx(one["AdamW's two moments"])
    assert "gathered by FSDP2" in many
    assert "buckets of DDP" in memory_parts(recipe("vits14"), student_sizes(recipe("vits14")), num_gpus=2)


def test_recomputing_repeats_the_student_s_blocks() -> None:
    config = sized(recipe("vits14"), 64)
    again = sized(config, 64, recompute=True)
    sizes = student_sizes(config)
    assert isinstance(sizes, Network)
    assert recomputed_flops(config, sizes) == 0
    whole = step_flops(config, sizes, hidden_patches=hidden_patches(config, 64))
    assert 0.15 < recomputed_flops(again, sizes) / whole < 0.25
    assert hidden_patches(config, 64) == 4915  # half of 128 crops, 0.3 of 256 patches each


def test_micro_batches_lower_the_memory_and_are_named_where_they_make_a_run_fit() -> None:
    config = recipe("vits14")
    whole = memory_parts(config, student_sizes(config), num_gpus=1)
    found = what_fits(config, H100, num_gpus=1)
    assert found.accumulate is not None
    cut = replace(config, train=replace(config.train, accumulate=found.accumulate))
    parts = memory_parts(cut, student_sizes(cut), num_gpus=1)
    assert sum(parts.values()) <= H100.memory_gb * 1e9 < sum(whole.values())
    assert parts["activations of the backbone"] == pytest.approx(whole["activations of the backbone"] / found.accumulate)


def test_a_number_of_micro_batches_that_cuts_koleo_groups_is_passed_over() -> None:
    base = recipe("vits14")
    config = replace(base, loss=replace(base.loss, koleo_group=384), train=replace(base.train, batch_size=1536))
    assert what_fits(config, H100, num_gpus=1).accumulate == 4  # two do not fit, and three cut groups of 384
