import hashlib
import hmac
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.sources.manifest import ManifestError, is_manifest, patient_key, pseudonym, read_manifest
from warehouse.records import VideoInfo

KEY = b"0123456789abcdef"


def test_a_table_says_what_is_known_of_each_video(tmp_path: Path) -> None:
    path = tmp_path / "archive, 2024.csv"
    path.write_text('uri,patient,site,date\n"a, b.mp4", 0042 ,Ward 7,2024-05-01\nfile:///srv/c%20d.mp4,,,\n')
    manifest = read_manifest(path, KEY)
    assert dict(manifest.videos) == {
        str(tmp_path / "a, b.mp4"): VideoInfo(
            patient_id=hmac.new(KEY, b"0042", hashlib.sha256).hexdigest()[:32],
            site="Ward 7",
            device=None,
            procedure=None,
            date="2024-05-01",
        ),
        "/srv/c d.mp4": VideoInfo(patient_id=None, site=None, device=None, procedure=None, date=None),
    }
    assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parquet_with_numbers_as_patients_gives_the_same_pseudonyms(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a.mp4"], "patient": [42]}), tmp_path / "m.parquet")
    (info,) = read_manifest(tmp_path / "m.parquet", KEY).videos.values()
    assert info.patient_id == pseudonym("42", KEY)
    assert info.patient_id != pseudonym("42", b"another key of 16+")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("path,patient\na.mp4,1\n", KEY, "has the columns path, patient; expected uri"),
        ("uri,name\na.mp4,DOE\n", KEY, "has the columns uri, name; expected uri and any of patient, site"),
        ("uri,patient\na.mp4,1\n", None, "names patients, and there is no key"),
        ("uri,site\na.mp4,x\na.mp4,y\n", KEY, "row 2 .* says something else of 'a.mp4'"),
        ("uri,site\n,x\n", KEY, "row 1 .* has no uri"),
        ("uri,site\na.mp4,DOE,y,z\n", KEY, r"is no readable table \(CSV parse error: (Row #2: )?Expected 2 columns, got 4\)"),
        ("", KEY, "is no readable table"),
    ],
)
def test_an_unusable_table_is_an_error_that_says_why(text: str, key: bytes | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(tmp_path / "m.csv", key)
    assert "DOE" not in str(caught.value)


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert patient_key() is None
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY", "short")
    with pytest.raises(ManifestError, match="has 5 bytes, expected 16 or more"):
        patient_key()
    (tmp_path / "key").write_text("from a file, 16+\n")
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY_FILE", str(tmp_path / "key"))
    assert patient_key() == b"from a file, 16+"
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ManifestError, match="cannot be read"):
        patient_key()


def test_only_a_table_that_exists_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.CSV").touch()
    assert is_manifest(tmp_path / "m.CSV")
    assert not is_manifest(tmp_path / "none.csv")
    assert not is_manifest(tmp_path / "a.mp4")
