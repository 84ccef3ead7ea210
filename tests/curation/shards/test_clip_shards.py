import io
import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import webdataset

from curation.shards.verify_folder import folder_problems
from tests.helpers.clip_shards import moving_clip, write_clip_dataset


def test_plain_webdataset_reads_clips_at_a_constant_rate(tmp_path: Path) -> None:
    dataset = write_clip_dataset(tmp_path, num_videos=2, clips_per_video=1, num_frames=40, size=(64, 48))
    folder = tmp_path / dataset.path
    described = json.loads((folder / "dataset.json").read_bytes())
    assert (described["kind"], described["num_images"]) == ("clips", 2)
    assert folder_problems(folder, dataset) == []
    samples = {
        json.loads(one["json"])["clip_id"]: one for one in webdataset.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False)
    }
    assert sorted(samples) == sorted(pq.read_table(folder / "samples.parquet")["clip_id"].to_pylist())
    for number, (clip_id, sample) in enumerate(sorted(samples.items())):
        said = json.loads(sample["json"])
        assert said == {
            "clip_id": clip_id,
            "cluster_path": [number, 0],
            "end_s": 1.3,
            "fps": 30.0,
            "group": f"{number:064x}",
            "height": 48,
            "num_frames": 40,
            "patient": "p0",
            "start_s": 0.0,
            "video_id": f"{number:064x}",
            "width": 64,
        }
        with av.open(io.BytesIO(sample["mp4"]), "r") as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, float(stream.average_rate or 0), len(container.streams)) == ("h264", 30.0, 1)
            frames = list(container.decode(stream))
        assert [round(float(frame.time or 0) * 30, 3) for frame in frames] == list(range(40))
        assert [frame.key_frame for frame in frames] == [moment % 30 == 0 for moment in range(40)]
        expected = np.stack(moving_clip(number, num_frames=40, size=(64, 48)))
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        assert np.abs(decoded.astype(int) - expected).mean() < 4
