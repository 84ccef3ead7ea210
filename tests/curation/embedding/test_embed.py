import io
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image
from timm.data.transforms_factory import create_transform

from curation.embedding.batches import PackGroup, PackSlice, group_packs, whole_packs
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import EMBED_VERSION, embed_images, embed_packs, join_slices, remove_unused_pieces, whole_parts
from curation.embedding.encoder import _load, load_encoder
from curation.embedding.encoder_source import Preprocessing
from curation.embedding.preprocess import decode_image, normalise
from curation.embedding.vectors import read_part
from curation.packs.pack import write_pack as write_tar
from flows.runners.runners import ProcessRunner, successes
from warehouse.records import EmbeddingPart, FramePack
from warehouse.schema import embedding_schema

CONFIG = EmbedConfig(batch_size=2, device="cpu")
CROP = Preprocessing(image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875, crop_mode="center")


def smooth_image(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_pack(root: Path, images: dict[str, bytes], name: str = "a pack, größer") -> FramePack:
    path = root / "frames" / f"{name}.tar"
    written = write_tar(path, images.items())
    return FramePack(
        pack_id=written.pack_id,
        video_id="e" * 64,
        path=path.relative_to(root).as_posix(),
        num_bytes=written.num_bytes,
        num_frames=len(images),
    )


def embed_pack(pack: FramePack, *, lake_root: str, config: EmbedConfig) -> EmbeddingPart:
    (part,) = embed_packs(whole_packs([pack]), lake_root=lake_root, config=config)
    return part


def read_vectors(path: Path) -> npt.NDArray[np.float32]:
    return np.stack(pq.read_table(path)["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)


def test_a_pack_becomes_one_row_of_a_unit_vector_a_frame(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, {f"frame{i}": jpeg(smooth_image(i)) for i in range(5)})
    part = embed_pack(pack, lake_root=str(tmp_path), config=CONFIG)
    encoder = load_encoder(CONFIG)
    assert part.path == f"embeddings/{encoder.encoder_id[:16]}/v{EMBED_VERSION}/{pack.pack_id}.parquet"
    assert (part.num_frames, part.dim, part.encoder_id) == (5, 1280, encoder.encoder_id)
    table = pq.read_table(tmp_path / part.path)
    assert table.schema.equals(embedding_schema(1280))
    assert table["frame_id"].to_pylist() == [f"frame{i}" for i in range(5)]
    np.testing.assert_allclose(np.linalg.norm(read_vectors(tmp_path / part.path), axis=1), 1, atol=2e-3)


def test_vectors_are_those_of_the_models_own_transform(tmp_path: Path) -> None:
    encoder = load_encoder(CONFIG)
    images = [smooth_image(i, 400, 320) for i in range(3)]
    pack = write_pack(tmp_path, {str(i): jpeg(image) for i, image in enumerate(images)})
    ours = read_vectors(tmp_path / embed_pack(pack, lake_root=str(tmp_path), config=CONFIG).path)
    constants = encoder.preprocessing
    transform = create_transform(
        (3, 224, 224), interpolation="bicubic", mean=constants.mean, std=constants.std, crop_pct=constants.crop_pct
    )
    with torch.inference_mode():
        expected = encoder.module(torch.stack([transform(Image.open(io.BytesIO(jpeg(image)))) for image in images]))
    cosine = (torch.nn.functional.normalize(expected).numpy() * ours).sum(axis=1)
    assert cosine.min() > 0.999
    others = np.abs(ours @ ours.T - np.eye(3)).max()
    assert others < 0.95  # or the check above would hold for anything


def test_batches_and_rerun_do_not_change_a_part(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, {str(i): jpeg(smooth_image(i)) for i in range(3)})
    part = embed_pack(pack, lake_root=str(tmp_path), config=CONFIG)
    path = tmp_path / part.path
    before = (path.stat().st_mtime_ns, path.read_bytes())
    assert embed_pack(pack, lake_root=str(tmp_path), config=CONFIG) == part
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    one_by_one = read_vectors(path)
    path.with_suffix(".json").unlink()  # as after a kill between the two files
    embed_pack(pack, lake_root=str(tmp_path), config=replace(CONFIG, batch_size=3))
    np.testing.assert_allclose(read_vectors(path), one_by_one, atol=2e-3)


def test_plain_duckdb_reads_a_part(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, {"a": jpeg(smooth_image(1))})
    part = embed_pack(pack, lake_root=str(tmp_path), config=CONFIG)
    rows = duckdb.sql("select frame_id, len(embedding) from read_parquet($path)", params={"path": str(tmp_path / part.path)}).fetchall()
    assert rows == [("a", 1280)]


def test_a_damaged_image_names_the_pack_and_the_remedy(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, {"good": jpeg(smooth_image(1)), "bad": jpeg(smooth_image(2))[:400]})
    with pytest.raises(ValueError, match=r"größer\.tar holds a damaged image .* ingest its video e+ again"):
        embed_pack(pack, lake_root=str(tmp_path), config=CONFIG)
    assert not list(tmp_path.glob("embeddings/**/*.parquet"))


def test_an_empty_pack_gives_an_empty_part(tmp_path: Path) -> None:
    part = embed_pack(write_pack(tmp_path, {}), lake_root=str(tmp_path), config=CONFIG)
    assert part.num_frames == pq.read_metadata(tmp_path / part.path).num_rows == 0


def test_centre_crop_keeps_the_middle_of_the_longer_side() -> None:
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (56, 0, 144, 100))  # the middle square of 0.875 times the height, and a little more
    assert decode_image(jpeg(image), CROP).min() > 230


def test_squash_keeps_both_ends_and_border_pads_with_the_mean() -> None:
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (0, 0, 20, 100))
    squashed = decode_image(jpeg(image), replace(CROP, crop_mode="squash", crop_pct=1.0))
    assert squashed[:, :5].min() > 230
    assert squashed[:, 8:].max() < 25
    bordered = decode_image(jpeg(image), replace(CROP, crop_mode="border", crop_pct=1.0))
    assert (bordered[:16] == 128).all()
    assert (bordered[48:] == 128).all()
    assert bordered[17:47, :5].min() > 230


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_decoding_agrees_with_timms_transform(crop_mode: str) -> None:
    image = smooth_image(3, 150, 110)
    expected = create_transform(
        (3, 224, 224), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1), crop_pct=0.875, crop_mode=crop_mode, normalize=False
    )(Image.open(io.BytesIO(jpeg(image))))
    ours = decode_image(jpeg(image), replace(CROP, crop_mode=crop_mode, image_size=224)).transpose(2, 0, 1).astype(np.float32)
    theirs = np.asarray(expected, np.float32)
    if crop_mode == "center":  # the same algorithm in another library: rounding only
        assert np.abs(ours - theirs).max() <= 2
    if crop_mode == "border":  # timm pads with black in this call, we with the mean colour
        ours, theirs = ours[:, 20:-20], theirs[:, 20:-20]
    assert np.abs(ours - theirs).mean() < 2
    assert np.abs(ours - theirs[:, ::-1]).mean() > 20


def test_a_large_jpeg_is_decoded_small_yet_alike() -> None:
    image = smooth_image(4, 1600, 1200)
    small = decode_image(jpeg(image), CROP).astype(np.float32)
    whole = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC, box=(275, 75, 1325, 1125)), np.float32)
    assert np.abs(small - whole).mean() < 2


def short_packs(root: Path) -> tuple[FramePack, ...]:
    """Packs of 3, 0, 1 and 5 frames."""
    return tuple(
        write_pack(root, {f"{pack}-{i}": jpeg(smooth_image(10 * pack + i)) for i in range(size)}, f"pack {pack}")
        for pack, size in enumerate((3, 0, 1, 5))
    )


def test_a_part_has_the_same_bytes_whatever_shares_its_batches(tmp_path: Path) -> None:
    packs = short_packs(tmp_path)
    config = replace(CONFIG, batch_size=4)
    together = embed_packs(whole_packs(packs), lake_root=str(tmp_path), config=config)
    assert [part.num_frames for part in together] == [3, 0, 1, 5]
    written = {part.path: (tmp_path / part.path).read_bytes() for part in together}
    for part in together:
        (tmp_path / part.path).unlink()
    assert tuple(embed_pack(pack, lake_root=str(tmp_path), config=config) for pack in packs) == together
    assert {path: (tmp_path / path).read_bytes() for path in written} == written


def test_after_a_kill_only_what_is_missing_is_embedded_and_comes_out_the_same(tmp_path: Path) -> None:
    packs = short_packs(tmp_path)
    config = replace(CONFIG, batch_size=4)
    before = embed_packs(whole_packs(packs), lake_root=str(tmp_path), config=config)
    kept, lost = tmp_path / before[0].path, tmp_path / before[3].path
    seen = (kept.stat().st_mtime_ns, lost.read_bytes())
    lost.with_suffix(".json").unlink()
    (tmp_path / packs[0].path).unlink()  # so reading a finished pack again would fail
    assert embed_packs(whole_packs(packs), lake_root=str(tmp_path), config=config) == before
    assert (kept.stat().st_mtime_ns, lost.read_bytes()) == seen


def test_packs_before_a_damaged_one_are_kept(tmp_path: Path) -> None:
    first = write_pack(tmp_path, {f"{i}": jpeg(smooth_image(i)) for i in range(3)}, "first")
    bad = write_pack(tmp_path, {"a": jpeg(smooth_image(7))[:400]}, "bad")  # its frame would fill the first pack's last batch
    last = write_pack(tmp_path, {"b": jpeg(smooth_image(8))}, "last")
    with pytest.raises(ValueError, match=r"bad\.tar holds a damaged image"):
        embed_packs(whole_packs([first, bad, last]), lake_root=str(tmp_path), config=CONFIG)
    (kept,) = tmp_path.glob("embeddings/*/*/*.parquet")
    assert (kept.stem, kept.with_suffix(".json").exists()) == (first.pack_id, True)
    before = kept.stat().st_mtime_ns
    (tmp_path / first.path).unlink()  # so reading it again would fail
    assert embed_pack(first, lake_root=str(tmp_path), config=CONFIG).path == kept.relative_to(tmp_path).as_posix()
    assert kept.stat().st_mtime_ns == before


def empty_record(name: str, num_frames: int) -> FramePack:
    return FramePack(pack_id=name, video_id="v", path=f"{name}.tar", num_bytes=1, num_frames=num_frames)


def cuts(groups: list[PackGroup]) -> list[list[tuple[str, int, int]]]:
    return [[(piece.pack.pack_id, piece.start, piece.stop) for piece in group.slices] for group in groups]


def test_groups_cut_packs_where_a_batch_is_full() -> None:
    packs = [empty_record(name, num_frames) for name, num_frames in (("a", 3), ("b", 0), ("c", 6), ("d", 1))]
    assert cuts(group_packs(packs, batch_size=2)) == [[("a", 0, 3), ("b", 0, 0), ("c", 0, 1)], [("c", 1, 5)], [("c", 5, 6), ("d", 0, 1)]]
    assert cuts(group_packs(packs[1:2], batch_size=2)) == [[("b", 0, 0)]]
    assert group_packs([], batch_size=32) == []
    assert repr(group_packs(packs, batch_size=2)[1]) == "4 frames from frame 1 of c.tar on"


def test_groups_of_one_long_pack_grow_small_towards_the_end() -> None:
    sizes = [group.num_frames for group in group_packs([empty_record("a", 20_000)], batch_size=32)]
    assert sizes[:3] == [1024, 1024, 1024]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2:] == [64, 32]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 9))
def test_groups_hold_every_frame_once_and_whole_batches(lengths: list[int], batch_size: int) -> None:
    packs = [empty_record(str(i), length) for i, length in enumerate(lengths)]
    groups = group_packs(packs, batch_size=batch_size)
    frames = [(piece.pack.pack_id, i) for group in groups for piece in group.slices for i in range(piece.start, piece.stop)]
    assert frames == [(pack.pack_id, i) for pack in packs for i in range(pack.num_frames)]
    assert {piece.pack.pack_id for group in groups for piece in group.slices} == {pack.pack_id for pack in packs}
    assert all(group.num_frames % batch_size == 0 for group in groups[:-1])


def test_a_pack_cut_between_groups_gets_the_part_it_gets_whole(tmp_path: Path) -> None:
    packs = short_packs(tmp_path)
    whole = embed_packs(whole_packs(packs), lake_root=str(tmp_path), config=CONFIG)
    written = {part.path: (tmp_path / part.path).read_bytes() for part in whole}
    shutil.rmtree(tmp_path / "embeddings")
    first, second, third = (
        PackGroup(slices=(PackSlice(pack=packs[0], start=0, stop=2),)),
        PackGroup(
            slices=(PackSlice(pack=packs[0], start=2, stop=3), *whole_packs(packs[1:3]).slices, PackSlice(pack=packs[3], start=0, stop=2))
        ),
        PackGroup(slices=(PackSlice(pack=packs[3], start=2, stop=5),)),
    )
    run = partial(embed_packs, lake_root=str(tmp_path), config=CONFIG)
    join = partial(whole_parts, lake_root=str(tmp_path), config=CONFIG)
    assert run(third) == ()  # as a faster worker may come first
    embedded = [run(group) for group in (first, second, third)]
    assert list(join([first, second, third], embedded)) == [(), whole[:3], whole[3:]]
    assert {path: (tmp_path / path).read_bytes() for path in written} == written
    assert list(tmp_path.glob("embeddings/**/pieces/*")) == []
    (tmp_path / packs[0].path).unlink()
    assert (run(first), run(second)) == ((), whole[1:3])  # what is finished is not read again


def test_a_piece_left_by_a_killed_run_is_used(tmp_path: Path) -> None:
    pack = short_packs(tmp_path)[3]
    halves = [PackSlice(pack=pack, start=0, stop=2), PackSlice(pack=pack, start=2, stop=5)]
    for half in halves:
        embed_packs(PackGroup(slices=(half,)), lake_root=str(tmp_path), config=CONFIG)
    (tmp_path / pack.path).unlink()
    for half in halves:
        assert embed_packs(PackGroup(slices=(half,)), lake_root=str(tmp_path), config=CONFIG) == ()
    assert join_slices(halves, lake_root=str(tmp_path), config=CONFIG).num_frames == 5


def test_pieces_that_no_run_will_use_go_once_they_are_old(tmp_path: Path) -> None:
    pack = short_packs(tmp_path)[3]
    piece, other = PackGroup(slices=(PackSlice(pack=pack, start=0, stop=2),)), PackGroup(slices=(PackSlice(pack=pack, start=0, stop=3),))
    killed = """if 1:
        import os, pickle, signal, sys
        from curation.embedding.embed import embed_packs
        groups, root, config = pickle.load(sys.stdin.buffer)
        for group in groups:
            embed_packs(group, lake_root=root, config=config)
        os.kill(os.getpid(), signal.SIGKILL)"""
    run = subprocess.run([sys.executable, "-c", killed], input=pickle.dumps(([piece, other], str(tmp_path), CONFIG)), check=False)
    assert run.returncode == -signal.SIGKILL
    unused, used = sorted(tmp_path.glob("embeddings/*/*/pieces/*"), reverse=True)
    earlier = tmp_path / "embeddings" / "another encoder" / "pieces" / "pack.v1.0-2.parquet"
    earlier.parent.mkdir(parents=True)
    shutil.copy(used, earlier)
    remove = partial(remove_unused_pieces, [piece], lake_root=str(tmp_path), config=CONFIG)
    assert remove(older_than_s=3600) == 0  # they may be of a living run
    assert remove(older_than_s=-1) == 2
    assert [path.exists() for path in (used, unused, earlier)] == [True, False, False]


@pytest.mark.parametrize("recorded", [2, 4])
def test_a_pack_of_another_length_than_its_record_is_refused(tmp_path: Path, recorded: int) -> None:
    pack = replace(short_packs(tmp_path)[0], num_frames=recorded)
    with pytest.raises(ValueError, match=f"gave 3 frames from frame 0 on, expected {recorded}; ingest its video e+ again"):
        embed_pack(pack, lake_root=str(tmp_path), config=CONFIG)


def test_normalising_by_table_gives_the_values_of_the_arithmetic() -> None:
    constants = replace(CROP, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values).mul(255).view(1, 3, 1, 1) for values in (constants.mean, constants.std))
    got = normalise(images, constants, torch.device("cpu"))
    assert torch.equal(got, (torch.from_numpy(images).permute(0, 3, 1, 2) - mean) / std)
    assert got.is_contiguous(memory_format=torch.channels_last)


def embed_and_count_loads(group: PackGroup, *, lake_root: str, config: EmbedConfig) -> tuple[tuple[EmbeddingPart, ...], int]:
    return embed_packs(group, lake_root=lake_root, config=config), _load.cache_info().misses


def test_a_worker_process_gives_the_bytes_of_this_one_and_loads_the_model_once(tmp_path: Path) -> None:
    packs = short_packs(tmp_path)
    groups = [whole_packs(packs[:2]), whole_packs(packs[2:])]
    config = replace(CONFIG, batch_size=4)
    here = [embed_packs(group, lake_root=str(tmp_path), config=config) for group in groups]
    shutil.rmtree(tmp_path / "embeddings")
    there = successes(ProcessRunner(1).map(embed_and_count_loads, groups, lake_root=str(tmp_path), config=config), stage="embed")
    assert list(there) == [(parts, 1) for parts in here]


def test_new_and_old_parts_are_read_alike(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float16).reshape(2, 3)
    for name, lists in (("old", pa.list_(pa.float16())), ("new", pa.list_(pa.float16(), 3))):
        pq.write_table(pa.table({"frame_id": ["a", "b"], "embedding": pa.array(list(vectors), lists)}), tmp_path / name)
        ids, read = read_part(tmp_path / name, 3)
        assert ids == ["a", "b"]
        assert read.dtype == np.float16
        np.testing.assert_array_equal(read, vectors)
    with pytest.raises(ValueError, match="holds 6 numbers in 2 vectors, expected 4 each"):
        read_part(tmp_path / "new", 4)


@pytest.mark.parametrize("size", [(512, 410), (410, 512), (300, 200), (1600, 1200)])
def test_embeddings_are_those_of_timms_transform(size: tuple[int, int]) -> None:
    encoder = load_encoder(CONFIG)
    image = jpeg(smooth_image(5, *size))
    constants = encoder.preprocessing
    transform = create_transform(
        (3, 224, 224), interpolation="bicubic", mean=constants.mean, std=constants.std, crop_pct=constants.crop_pct
    )
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(encoder.module(transform(Image.open(io.BytesIO(image)))[None])).numpy()
    assert (embed_images(iter([image]), encoder, batch_size=1).astype(np.float32) * expected).sum() > 0.999


def test_vectors_do_not_depend_on_the_number_of_threads_and_a_damaged_image_ends_them() -> None:
    encoder = load_encoder(CONFIG)
    images = [jpeg(smooth_image(seed, 300, 200)) for seed in range(7)]
    alone = embed_images(iter(images), encoder, batch_size=2)
    assert alone.shape == (7, encoder.dim)
    for num_threads in (2, 5):
        np.testing.assert_array_equal(embed_images(iter(images), encoder, batch_size=2, num_threads=num_threads), alone)
    assert embed_images(iter([]), encoder, batch_size=2, num_threads=2).shape == (0, encoder.dim)
    with pytest.raises(OSError, match="cannot identify image"):
        embed_images(iter([*images, b"no image", images[0]]), encoder, batch_size=2, num_threads=3)
