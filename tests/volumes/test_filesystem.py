"""`volume://` for programs that know fsspec, pandas and pyarrow, and nothing of volumes."""

from __future__ import annotations

import io
import pickle
from array import array
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from fsspec.generic import rsync
from tests.volumes.builders import MIB, content, findings, flip, objects

from gristmill.volumes import open_volume
from gristmill.volumes.errors import BadName, Damaged, NotSupported, StorageFailed
from gristmill.volumes.local_backend import LocalBackend

#: a folder in which each has to be told from the others
FILES = {"a.txt": b"1", "b/c.bin": b"22" * 3000, "b/d/e f.txt": "ä".encode(), "b.txt": b""}


@pytest.fixture
def fs(anywhere: None) -> Any:
    return fsspec.filesystem("volume")


@pytest.fixture
def local(volumes: Path) -> Any:
    return fsspec.filesystem("volume")


@pytest.fixture
def filled(fs: Any) -> Any:
    fs.pipe({f"v/{name}": data for name, data in FILES.items()})
    return fs


def test_looking(filled: Any) -> None:
    assert filled.ls("volume://v", detail=False) == ["v/a.txt", "v/b", "v/b.txt"]
    assert filled.ls("v/a.txt", detail=False) == ["v/a.txt"]
    assert {
        name.removeprefix("v/"): info["size"] for name, info in filled.find("v", detail=True).items()
    } == {name: len(data) for name, data in FILES.items()}
    assert filled.glob("v/**/*.txt") == ["v/a.txt", "v/b.txt", "v/b/d/e f.txt"]
    assert filled.glob("volume://v/*.txt") == ["v/a.txt", "v/b.txt"]
    assert next(iter(filled.walk("v")))[1:] == (["b"], ["a.txt", "b.txt"])
    assert filled.info("v/b/c.bin")["ETag"] == filled.info("v/b/c.bin")["sha256"] != ""
    assert filled.du("v") == sum(map(len, FILES.values()))
    for name, is_file, is_folder in (("a.txt", True, False), ("b", False, True), ("nix", False, False)):
        path = f"volume://v/{name}"
        assert (filled.isfile(path), filled.isdir(path), filled.exists(path)) == (
            is_file,
            is_folder,
            is_file or is_folder,
        )
    for deed in (filled.ls, filled.info, filled.cat_file, filled.open, filled.rm_file, filled.rm):
        with pytest.raises(FileNotFoundError):
            deed("v/nix")
    assert not filled.exists("volume://other-volume")
    assert filled.modified("v/a.txt").year > 2000


def test_changing(filled: Any) -> None:
    filled.cp("v/a.txt", "v/copy/a.txt")
    filled.mv("v/b", "v/moved", recursive=True)
    filled.cp("v/moved/c.bin", "other/c.bin")
    filled.rm("v/b.txt")
    assert filled.find("v") == ["v/a.txt", "v/copy/a.txt", "v/moved/c.bin", "v/moved/d/e f.txt"]
    assert filled.cat("other/c.bin") == FILES["b/c.bin"]
    with pytest.raises(IsADirectoryError):
        filled.rm("v/moved")
    filled.rm("v/moved", recursive=True)
    assert not filled.exists("v/moved")
    filled.rm(["v/a.txt", "v/copy/a.txt"])
    assert filled.ls("v") == []


@pytest.mark.parametrize(
    ("source", "target"),
    [("v/a.txt", "volume://v/a.txt"), ("v/a.txt", "v/"), ("v/b/c.bin", "v/b"), ("v/b", "v"), ("v/b", "v/b")],
)
def test_moving_what_is_there_already(filled: Any, source: str, target: str) -> None:
    filled.mv(source, target, recursive=source == "v/b")
    assert {name.removeprefix("v/"): filled.cat(name) for name in filled.find("v")} == FILES


@pytest.mark.parametrize("target", ["v/b/sub", "volume://v/b/d", "v/b/"])
def test_a_folder_is_not_moved_below_itself(filled: Any, target: str) -> None:
    with pytest.raises(BadName, match="below"):
        filled.mv("v/b", target, recursive=True)
    assert {name.removeprefix("v/"): filled.cat(name) for name in filled.find("v")} == FILES


def test_moving(filled: Any) -> None:
    filled.mv("v/a.txt", "v/b")
    filled.mv("v/*.txt", "w/texts/")
    filled.mv("v/b", "w/", recursive=True)
    assert filled.find("w") == ["w/b/a.txt", "w/b/c.bin", "w/b/d/e f.txt", "w/texts/b.txt"]
    assert filled.find("v") == []
    filled.move(["w/b/a.txt", "w/b/c.bin"], ["v/1", "v/2"])
    assert filled.find("v") == ["v/1", "v/2"]
    with pytest.raises(FileNotFoundError):
        filled.mv("v/nix", "v/other")


@pytest.mark.parametrize("name", ["a", ""])
def test_only_bytes_are_piped(fs: Any, tmp_path: Path, name: str) -> None:
    """(A text is not taken for the name of a file of this machine.)"""
    (tmp_path / "a").write_bytes(b"not meant")
    for value in (str(tmp_path / name), tmp_path / name, None, 7):
        with pytest.raises(TypeError):
            fs.pipe_file("v/x", value)
    with pytest.raises(TypeError):
        fs.pipe("v/x", name)
    assert not fs.exists("v/x")
    fs.pipe({"v/x": bytearray(b"1"), "v/y": memoryview(b"2"), "v/z": array("i", [1, 2])})
    assert fs.cat("v/x") + fs.cat("v/y") == b"12"
    assert fs.cat("v/z") == array("i", [1, 2]).tobytes()
    fs.pipe("v/x", array("i"))
    assert fs.cat("v/x") == b""


def test_folders(filled: Any) -> None:
    filled.makedirs("v/new/folder", exist_ok=True)
    filled.makedirs("v/b", exist_ok=True)
    filled.mkdir("v/new")
    for deed in (filled.mkdir, filled.makedirs):
        with pytest.raises(FileExistsError):
            deed("v/b")
        with pytest.raises(FileExistsError):
            deed("v/a.txt")
    with pytest.raises(OSError, match="not empty"):
        filled.rmdir("v/b")
    filled.rmdir("v/new")


def test_files_that_are_open(fs: Any) -> None:
    with fs.open("v/file", "wb") as file:
        assert file.write(b"one ") == 4
        file.write(bytearray(b"two"))
        assert file.tell() == 7
        assert not fs.exists("v/file")
    assert fs.cat("v/file") == b"one two"
    with fs.open("v/file", "rb") as file:
        file.seek(4)
        assert file.read() == b"two"
    assert fs.cat_file("v/file", start=-3) == b"two"
    with fs.open("v/text", "w", encoding="latin-1", newline="\r\n") as file:
        file.write("ä\nb\n")
    assert fs.cat("v/text") == "ä\r\nb\r\n".encode("latin-1")
    with fs.open("v/text", "r", encoding="latin-1") as file:
        assert file.readlines() == ["ä\n", "b\n"]
    with fsspec.open("volume://v/packed.gz", "wt", compression="gzip") as file:
        file.write("text" * 9000)
    with fsspec.open("volume://v/packed.gz", "rt", compression="infer") as file:
        assert file.read() == "text" * 9000
    with pytest.raises(FileExistsError):
        fs.open("v/file", "xb").close()
    for mode in ("ab", "r+b", "a"):
        with pytest.raises(NotSupported, match="never changed"):
            fs.open("v/file", mode)
    assert issubclass(NotSupported, io.UnsupportedOperation)


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_block_that_fails_names_nothing(fs: Any, mode: str) -> None:
    def fail() -> None:
        with fs.open("v/file", mode) as file:
            file.write(b"half" if mode == "wb" else "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    file = fs.open("v/file", "wb")
    file.write(b"given up")
    del file
    assert not fs.exists("v/file")


def test_transactions(fs: Any) -> None:
    with fs.transaction:
        fs.pipe_file("v/first", b"x")
        with fs.open("v/file", "wb") as file:
            file.write(content(5000))
        assert not fs.exists("v/file")
    assert fs.cat("v/file") == content(5000)
    fs.start_transaction()
    with fs.open("v/other", "wb") as file:
        file.write(content(5000))
    fs.end_transaction()
    assert fs.exists("v/other")
    fs.start_transaction()
    with fs.open("v/not", "wb") as file:
        file.write(content(5000))
    fs.transaction.complete(commit=False)
    fs.invalidate_cache()
    assert not fs.exists("v/not")


def test_names_that_are_none(fs: Any) -> None:
    for path in ("volume://", "volume://Ä/x", "v/../x", "v/a\nb"):
        with pytest.raises(BadName):
            fs.pipe_file(path, b"")
    assert pickle.loads(pickle.dumps(fs)) is fs


def test_damage_is_told_to_programs_that_know_nothing_of_it(local: Any, volumes: Path) -> None:
    pandas.DataFrame({"a": range(5000)}).to_parquet("volume://v/t.parquet")
    (path,) = objects(volumes / "v", "content")
    flip(path, 2000)
    with pytest.raises(OSError, match=r"t\.parquet, block 0 is damaged"):
        pandas.read_parquet("volume://v/t.parquet")
    with pytest.raises(Damaged):
        local.cat("v/t.parquet")


def test_a_folder_that_cannot_be_listed_is_not_left_out(local: Any, volumes: Path, tmp_path: Path) -> None:
    """Whoever takes what was found for all there is would remove, or not count, the rest."""
    local.pipe({f"v/d/{number}": content(5000, number) for number in range(3)})
    rsync("volume://v/d", (tmp_path / "copy").as_uri())
    path = volumes / "v/names/d/1"
    flip(path, 20)
    for deed in (
        local.find,
        local.du,
        lambda path: list(local.walk(path)),
        lambda path: local.glob(f"{path}/**"),
    ):
        for folder in ("v", "v/d"):
            with pytest.raises(Damaged, match="d/1 is damaged"):
                deed(folder)
    with pytest.raises(Damaged):
        local.get("v/", f"{tmp_path}/back/", recursive=True)
    with pytest.raises(Damaged):
        rsync("volume://v/d", (tmp_path / "copy").as_uri(), delete_missing=True)
    assert len(list((tmp_path / "copy").iterdir())) == 3
    assert local.find("v/not there") == []
    local.rm("v/d/1", recursive=True)
    flip(volumes / "v/names/d/2", 20)
    local.rm("v/d", recursive=True)
    assert local.find("v") == []
    with pytest.raises(FileNotFoundError):
        local.rm("v/d", recursive=True)


def test_pandas(anywhere: None) -> None:
    frame = pandas.DataFrame({"number": range(10_000), "text": ["x y", "ä"] * 5000})
    frame.to_csv("volume://v/t.csv", index=False)
    assert pandas.read_csv("volume://v/t.csv").equals(frame)
    frame.to_csv("volume://v/t.csv.gz", index=False)
    assert pandas.read_csv("volume://v/t.csv.gz").equals(frame)
    frame.to_json("volume://v/t.jsonl", orient="records", lines=True)
    assert pandas.read_json("volume://v/t.jsonl", lines=True).equals(frame)
    frame.to_parquet("volume://v/folder/t.parquet")
    assert pandas.read_parquet("volume://v/folder/t.parquet", columns=["number"]).equals(frame[["number"]])
    assert findings(open_volume("v")) == []


def test_pyarrow(fs: Any) -> None:
    table = pyarrow.table({"key": ["a", "b", "c d"] * 1000, "number": range(3000)})
    pyarrow.dataset.write_dataset(
        table,
        "v/set",
        filesystem=fs,
        format="parquet",
        partitioning=["key"],
        existing_data_behavior="delete_matching",
    )
    dataset = pyarrow.dataset.dataset("v/set", filesystem=fs, partitioning=["key"])
    assert dataset.count_rows() == 3000
    assert dataset.to_table(filter=pyarrow.dataset.field("number") < 10).num_rows == 10
    assert pyarrow.parquet.read_table("v/set", filesystem=fs).num_rows == 3000
    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    pyarrow.dataset.write_dataset(
        table, "v/set", filesystem=arrow, format="csv", existing_data_behavior="delete_matching"
    )
    infos = arrow.get_file_info(pyarrow.fs.FileSelector("v", recursive=True))
    assert {info.path for info in infos if info.type == pyarrow.fs.FileType.File} == set(fs.find("v"))
    arrow.delete_dir("v/set")
    assert not fs.exists("v/set")


def test_rsync(fs: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name, data in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    rsync(source.as_uri(), "volume://v/there")
    assert {name.removeprefix("v/there/"): fs.cat(name) for name in fs.find("v/there")} == FILES
    (source / "a.txt").write_bytes(b"changed")
    (source / "b/c.bin").unlink()
    rsync(source.as_uri(), "volume://v/there", delete_missing=True)
    assert fs.cat("v/there/a.txt") == b"changed"
    assert not fs.exists("v/there/b/c.bin")
    rsync("volume://v/there", (tmp_path / "back").as_uri())
    back = {str(p.relative_to(tmp_path / "back")): p.read_bytes() for p in (tmp_path / "back").rglob("*.txt")}
    assert back == {**{name: data for name, data in FILES.items() if name != "b/c.bin"}, "a.txt": b"changed"}


def test_put_and_get_of_fsspec(fs: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(content(3 * MIB))
    (source / "small").write_bytes(b"x")
    fs.put(f"{source}/", "v/there/", recursive=True)
    fs.get("v/there/", f"{tmp_path}/back/", recursive=True)
    assert (tmp_path / "back/large").read_bytes() == content(3 * MIB)
    assert (tmp_path / "back/small").read_bytes() == b"x"


@pytest.mark.parametrize("root", ["memory://volumes-of-urls", "file"])
def test_volumes_anywhere(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_VOLUMES", f"file://{tmp_path}/a%20b" if root == "file" else root)
    with fsspec.open("volume://v/file", "wb") as file:
        file.write(content(5000))
    assert fsspec.filesystem("volume").cat("v/file") == content(5000)
    if root == "file":
        assert objects(tmp_path / "a b/v", "names") == [tmp_path / "a b/v/names/file"]


def test_a_folder_of_ten_thousand(local: Any, volumes: Path) -> None:
    """Listing small files reads none of them."""
    local.pipe({f"v/many/{number:05} ä": b"%d" % number for number in range(10_000)})
    for path in objects(volumes / "v", "names")[::7]:
        path.chmod(0)  # (root reads them all the same: what counts is the next line)
        path.write_bytes(b"\0" * path.stat().st_size)
    listed = local.ls("v/many")
    assert len(listed) == 10_000
    assert [info["size"] for info in listed] == [len(str(number)) for number in range(10_000)]
    assert local.info("v/many/00001 ä")["size"] == 1


def test_what_can_not_be_looked_at_is_not_said_to_be_away(
    local: Any, volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.pipe_file("v/file", b"x")
    flip(volumes / "v/names/file", 30)
    assert (local.exists("v/file"), local.isfile("v/file"), local.isdir("v/file")) == (True, True, False)

    def fails(self: LocalBackend, key: str) -> None:
        raise StorageFailed("it does not answer")

    monkeypatch.setattr(LocalBackend, "stat", fails)
    for ask in (local.exists, local.isfile, local.isdir):
        with pytest.raises(StorageFailed):
            ask("v/file")


def test_an_empty_folder_that_was_left_is_not_in_the_way(local: Any, volumes: Path) -> None:
    local.pipe_file("v/file", b"x")
    (volumes / "v/names/left/empty").mkdir(parents=True)
    assert local.ls("v", detail=False) == ["v/file"]
    local.pipe_file("v/left", b"y", mode="create")
    assert local.cat_file("v/left") == b"y"
    (volumes / "v/names/other/empty").mkdir(parents=True)
    local.pipe_file("v/other", b"z")
    assert local.cat_file("v/other") == b"z"
