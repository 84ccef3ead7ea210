"""What the search reads of the candidates, on a lake of made-up frames of which some are copies."""

from pathlib import Path

import pyarrow.parquet as pq

from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse import queries


def test_candidates_come_by_frame_id_and_as_numbers(tmp_path: Path) -> None:
    with make_lake(tmp_path / "lake", num_frames=2500, dim=4) as lake:
        frames = {row["frame_id"]: row for row in lake.rows("SELECT frame_id, pack_id, blur, sha256, phash FROM candidates")}
        # two runs of embedding at once may both have recorded a pack
        lake.query("INSERT INTO embeddings SELECT * FROM embeddings")
        assert queries.export_candidates(lake, ENCODER_ID, tmp_path / "candidates.parquet") == 2500
    rows = pq.read_table(tmp_path / "candidates.parquet").to_pylist()
    assert [row["frame_id"] for row in rows] == sorted(frames)
    of_content: dict[str, set[int | None]] = {}
    for row in rows:
        frame = frames[row["frame_id"]]
        assert (row["pack_id"], row["blur"], row["phash"]) == (frame["pack_id"], frame["blur"], int(frame["phash"], 16))
        of_content.setdefault(frame["sha256"], set()).add(row["content"])
    hashes = [frame["sha256"] for frame in frames.values()]
    numbers = [number for found in of_content.values() for number in found if number is not None]
    assert 0 < len(numbers) == len(set(numbers)) == sum(hashes.count(content) > 1 for content in of_content)
    assert all((found == {None}) == (hashes.count(content) == 1) and len(found) == 1 for content, found in of_content.items())
