"""Archives that nobody vouches for: names, links, kinds and sizes in them mean nothing."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from archives import GOOD
from incv3d.models.archive import EXTENSIONS, Archive, is_archive
from incv3d.models.entry import ModelError
from incv3d.models.importing import import_model
from incv3d.models.published_archives import GRAPH_MEMBER, NAMES_MEMBER
from incv3d.models.store import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def member(name: str, content: bytes = b"", **facts: object) -> bytes:
    """A header that says `facts`, true or not, and the content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def packed(path: Path, *members: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(members) + bytes(2 * tarfile.BLOCKSIZE), 1))
    return path


REST = [member(name, content) for name, content in GOOD.items() if name != GRAPH_MEMBER]
GRAPH = GOOD[GRAPH_MEMBER]
ELSEWHERE = {"linkname": "/etc/passwd"}


@pytest.mark.parametrize(
    "kind",
    [
        {"type": tarfile.SYMTYPE, **ELSEWHERE},
        {"type": tarfile.LNKTYPE, **ELSEWHERE},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.BLKTYPE, "devmajor": 8},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
    ],
    ids=["symlink", "hard link", "device", "disk", "pipe", "folder"],
)
def test_what_is_no_plain_file_is_not_taken_for_one(store, tmp_path, kind) -> None:
    path = packed(tmp_path / "a.tgz", member(GRAPH_MEMBER, **kind), *REST)
    with pytest.raises(ModelError, match=f"{GRAPH_MEMBER} is missing from it"):
        import_model(store, path, "mine")
    assert store.models() == []


def test_a_sparse_member_is_not_taken_for_a_file(store, tmp_path) -> None:
    headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 29), "GNU.sparse.numblocks": "1"}
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(GRAPH_MEMBER)
        info.pax_headers = headers
        tar.addfile(info)
        for name in GOOD:
            if name != GRAPH_MEMBER:
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ModelError, match=f"{GRAPH_MEMBER} is missing from it"):
        import_model(store, path, "mine")


def test_a_path_that_climbs_out_writes_nothing_there(store, tmp_path) -> None:
    climbing = member("../../../../../../../../tmp/incv3d-climbed", b"x")
    absolute = member(str(tmp_path / "absolute"), b"x")
    link = member("away", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    through = member(f"away/{GRAPH_MEMBER}", GRAPH)
    model = import_model(store, packed(tmp_path / "a.tgz", climbing, absolute, link, through, *REST), "mine")
    assert model.network.read_bytes() == GRAPH
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "store"]
    assert not Path("/tmp/incv3d-climbed").exists()


def test_two_members_of_one_name_are_refused(store, tmp_path) -> None:
    path = packed(tmp_path / "a.tgz", member(GRAPH_MEMBER, GRAPH), member(f"x/{GRAPH_MEMBER}", GRAPH), *REST)
    with pytest.raises(ModelError, match=f"contains {GRAPH_MEMBER} twice"):
        import_model(store, path, "mine")


@pytest.mark.parametrize("size", [len(GRAPH) - 3, 1, 5000, 1 << 29])
def test_a_member_that_lies_about_its_size_is_refused(store, tmp_path, size) -> None:
    path = packed(tmp_path / "a.tgz", *REST, member(GRAPH_MEMBER, GRAPH, size=size))
    with pytest.raises(ModelError, match=r"a\.tgz: |graph\.pb: not a frozen GraphDef"):
        import_model(store, path, "mine")
    assert store.models() == []


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40)])
def test_a_size_below_nothing_is_refused(store, tmp_path, size) -> None:
    path = packed(tmp_path / "a.tgz", *REST, member("x", size=size), member(GRAPH_MEMBER, GRAPH))
    with pytest.raises(ModelError, match=r"a header with an invalid size of -\d+ bytes"):
        import_model(store, path, "mine")


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(store, tmp_path) -> None:
    for name, complaint in (("zeros", "more than a model can have"), (NAMES_MEMBER, "more than a model can")):
        path = packed(tmp_path / "bomb.tgz", member(name, size=3 << 30))  # the header alone says enough
        with pytest.raises(ModelError, match=complaint):
            import_model(store, path, "mine")
    many = packed(tmp_path / "many.tgz", *[member(f"{number}") for number in range(1001)])
    with pytest.raises(ModelError, match="more than a model can have"):
        import_model(store, many, "mine")


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_a_bomb_in_a_header_takes_no_memory(tmp_path, kind) -> None:
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb", compresslevel=1) as bomb:
        bomb.write(member("x", type=kind, size=1 << 30))
        for _ in range(1 << 10):
            bomb.write(bytes(1 << 20))
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from incv3d.models.importing import import_model\n"
        "from incv3d.models.store import ModelStore\n"
        "try: import_model(ModelStore(Path(sys.argv[2])), Path(sys.argv[1]), 'mine')\n"
        "except Exception as error: print(error)\n"
        # Not getrusage: its peak is inherited from whoever started the process.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "store")]
    said, peak_kb = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "bomb.tgz" in said and int(peak_kb) < 300_000


def test_headers_upon_headers_are_refused(store, tmp_path) -> None:
    links = [member("x", b"y" * 100, type=tarfile.GNUTYPE_LONGNAME) for _ in range(5000)]
    path = packed(tmp_path / "a.tgz", member("first"), *links, member(GRAPH_MEMBER, GRAPH), *REST)
    with pytest.raises(ModelError, match=r"a\.tgz: "):
        import_model(store, path, "mine")


def test_other_compressions_are_not_unpacked(tmp_path) -> None:
    for mode in ("bz2", "xz"):
        path = tmp_path / f"a.{mode}"
        with tarfile.open(path, f"w:{mode}") as tar:
            tar.addfile(tarfile.TarInfo("x"))
        assert not is_archive(path)
    assert is_archive(packed(tmp_path / "a.tgz", *REST))


def test_names_as_long_as_they_get_are_read(tmp_path) -> None:
    path = tmp_path / "a.tgz"
    deep = "/".join(["deep"] * 500)
    for layout in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(path, "w:gz", format=layout) as tar:
            tar.addfile(tarfile.TarInfo(f"{deep}/{GRAPH_MEMBER}"), io.BytesIO())
        assert [name for name, _ in Archive(path, {GRAPH_MEMBER: 1}).members()] == [GRAPH_MEMBER]


GZIP = b"\x1f\x8b\x08\x08\0\0\0\0\0\xffname"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 9, 12, 100, 511, 512, 513])
def test_random_bytes_and_cut_off_ones_are_no_archives(store, tmp_path, size) -> None:
    whole = packed(tmp_path / "whole.tgz", member(GRAPH_MEMBER, GRAPH), *REST).read_bytes()
    for content in (os.urandom(size), whole[:size], b"\x1f\x8b" + os.urandom(size), GZIP[:size]):
        path = tmp_path / "x"
        path.write_bytes(content)
        if content != whole:
            with pytest.raises(ModelError, match=f"^{path}: "):
                import_model(store, path, "mine")
    assert store.models() == []
