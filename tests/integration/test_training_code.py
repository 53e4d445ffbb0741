"""Code is taken by commit, exactly, and from nowhere it should not come from."""

import os
import socket
from pathlib import Path

import pytest

from aiinfra_core.errors import BadInput, NotFound, Unavailable
from aiinfra_core.training import code
from aiinfra_core.training import git as safe_git
from tests.simulators.git_repository import COMMITTED_AT, commit, git, repository, write_files

UNKNOWN = "0123456789abcdef0123456789abcdef01234567"
FILES = {"train.py": "print('hello')\n", "data/rows.csv": "a,b\r\n1,2\r\n"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    repository(tmp_path / "source", FILES)
    return tmp_path / "source"


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_clean_work_tree_is_pinned_to_its_commit(source: Path) -> None:
    expected = f"{source}@{git(source, 'rev-parse', 'HEAD')}"
    assert code.pin(str(source)) == code.pin(f"{source}@HEAD") == expected


def test_a_relative_path_is_pinned_as_an_absolute_one(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)
    assert code.pin(".").startswith(f"{source}@")


@pytest.mark.parametrize("ref", [f"/nowhere@{UNKNOWN}", f"https://example.org/code.git@{UNKNOWN}", f"git+ssh://git@host/code@{UNKNOWN}"])
def test_a_pinned_reference_stays_as_it_is(ref: str) -> None:
    assert code.pin(ref) == ref


@pytest.mark.parametrize("change", [{"train.py": "changed"}, {"new.py": "untracked"}])
def test_a_dirty_work_tree_is_refused_by_name(source: Path, change: dict[str, str]) -> None:
    write_files(source, change)
    with pytest.raises(BadInput, match=f"{next(iter(change))}.*commit or stash"):
        code.pin(str(source))


def test_a_staged_change_is_refused_too(source: Path) -> None:
    write_files(source, {"new.py": "staged"})
    git(source, "add", "new.py")
    with pytest.raises(BadInput, match=r"new\.py"):
        code.pin(str(source))


def test_ignored_files_do_not_make_a_work_tree_dirty(tmp_path: Path) -> None:
    ref = repository(tmp_path / "source", FILES | {".gitignore": "*.log\n"})
    write_files(tmp_path / "source", {"run.log": "ignored"})
    assert code.pin(str(tmp_path / "source")) == ref


def test_a_folder_without_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no git work tree"):
        code.pin(str(tmp_path))


def test_a_repository_without_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(BadInput, match="no commit yet"):
        code.pin(str(tmp_path))


def test_a_folder_inside_a_repository_is_refused_with_the_way_out(source: Path) -> None:
    with pytest.raises(BadInput, match=f"inside the repository {source}"):
        code.pin(str(source / "data"))


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        code.pin(str(tmp_path / "nowhere"))


def test_a_url_without_commit_is_refused() -> None:
    with pytest.raises(BadInput, match="URL@COMMIT"):
        code.pin("https://example.org/code.git@main")


def test_a_hook_of_the_work_tree_does_not_run_when_it_is_pinned(source: Path, tmp_path: Path) -> None:
    hook = source / ".git" / "monitor"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(source, "config", "core.fsmonitor", str(hook))
    code.pin(str(source))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["", "file://", "git+file://"])
def test_a_checkout_is_exactly_the_commits_files(source: Path, tmp_path: Path, prefix: str) -> None:
    pinned = code.pin(str(source))
    write_files(source, {"train.py": "later", "later.py": "later"})
    commit(source)
    checkout = code.checkout(f"{prefix}{pinned}", tmp_path / "code")
    assert files_below(tmp_path / "code") == {name: text.encode() for name, text in FILES.items()}
    assert checkout.commit == pinned[-40:]
    assert checkout.committed_at == COMMITTED_AT
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_server_that_gives_only_tips_is_asked_for_everything(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = code.pin(str(source))
    write_files(source, {"later.py": "later"})
    commit(source)
    monkeypatch.setattr(safe_git, "_OVERRULED", ("protocol.version=0",))
    code.checkout(first, tmp_path / "code")
    assert files_below(tmp_path / "code").keys() == FILES.keys()
    with pytest.raises(BadInput, match="no commit"):
        code.checkout(f"{source}@{UNKNOWN}", tmp_path / "other")


def test_attributes_and_configuration_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = "*.csv text eol=crlf\n*.txt export-ignore\n*.py ident\n"
    files = {".gitattributes": attributes, "a.csv": "1\n2\n", "b.txt": "kept", "c.py": "# $Id$\n", "run.sh": "#!/bin/sh\n"}
    (tmp_path / "source").mkdir()
    write_files(tmp_path / "source", files)
    (tmp_path / "source" / "run.sh").chmod(0o755)
    ref = f"{tmp_path / 'source'}@{commit(tmp_path / 'source')}"
    (tmp_path / ".gitconfig").write_text('[core]\n\tautocrlf = true\n[url "file:///nowhere"]\n\tinsteadOf = /\n')
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    code.checkout(ref, tmp_path / "code")
    assert files_below(tmp_path / "code") == {name: text.encode() for name, text in files.items()}
    assert os.access(tmp_path / "code" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "code" / "c.py", os.X_OK)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_an_unknown_commit_is_refused_and_leaves_nothing(source: Path, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(BadInput, match=f"no commit {UNKNOWN}"):
        code.checkout(f"{prefix}{source}@{UNKNOWN}", tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_tree_or_tag_is_no_commit(source: Path, tmp_path: Path) -> None:
    git(source, "tag", "--annotate", "v1", "--message=v1")
    for name in ("HEAD^{tree}", "v1"):
        with pytest.raises(BadInput, match="no commit"):
            code.checkout(f"{source}@{git(source, 'rev-parse', name)}", tmp_path / "code")


def test_a_missing_repository_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        code.checkout(f"{tmp_path}/nowhere@{UNKNOWN}", tmp_path / "code")


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no git work tree"):
        code.checkout(f"{tmp_path}@{UNKNOWN}", tmp_path / "new" / "code")


@pytest.mark.parametrize("scheme", ["https", "ssh"])
def test_an_unreachable_host_is_unavailable(tmp_path: Path, scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as refusal:
            code.checkout(f"{scheme}://127.0.0.1:{closed.getsockname()[1]}/code.git@{UNKNOWN}", tmp_path / "code")
    assert refusal.value.part == "code"


@pytest.mark.parametrize(
    "location",
    ["ext::sh%20-c%20touch%20ran", "http://example.org/code", "git://example.org/code", "ftp://example.org/code", "fd::17", "https:code"],
)
def test_other_transports_are_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(BadInput, match="https, ssh or file only"):
        code.checkout(f"{location}@{UNKNOWN}", tmp_path / "code")


@pytest.mark.parametrize("location", ["--upload-pack=touch", "-x", "has space/code"])
def test_options_and_spaces_are_no_reference(tmp_path: Path, location: str) -> None:
    with pytest.raises(BadInput, match="not pinned"):
        code.checkout(f"{location}@{UNKNOWN}", tmp_path / "code")


@pytest.mark.parametrize(
    "location", ["https://user:hunter2@example.org/code", "https://hunter2@example.org/code", "ssh://git:hunter2@host/x"]
)
def test_a_password_in_the_url_is_refused_without_repeating_it(tmp_path: Path, location: str) -> None:
    with pytest.raises(BadInput, match="user name or password") as refusal:
        code.checkout(f"{location}@{UNKNOWN}", tmp_path / "code")
    assert "hunter2" not in str(refusal.value)


def test_links_inside_the_commit_stay_and_may_dangle(source: Path, tmp_path: Path) -> None:
    (source / "data" / "latest").symlink_to("rows.csv")
    (source / "data" / "missing").symlink_to("not-there")
    code.checkout(f"{source}@{commit(source)}", tmp_path / "code")
    assert (tmp_path / "code" / "data" / "latest").read_bytes() == FILES["data/rows.csv"].encode()


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "data/../../outside", "up/../.."])
def test_a_link_that_leads_outside_is_refused_and_leaves_nothing(source: Path, tmp_path: Path, target: str) -> None:
    (source / "up").symlink_to("data")
    (source / "link").symlink_to(target)
    with pytest.raises(BadInput, match="leads outside"):
        code.checkout(f"{source}@{commit(source)}", tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_a_link_that_leads_outside_only_through_another_link_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "data" / "deep").mkdir()
    (source / "data" / "deep" / "top").symlink_to("../..")
    (source / "link").symlink_to("data/deep/top/../outside")
    with pytest.raises(BadInput, match="leads outside"):
        code.checkout(f"{source}@{commit(source)}", tmp_path / "code")


def forged_commit(folder: Path, *entries: tuple[str, str, str]) -> str:
    """Return a commit of a tree written byte by byte, as no honest git would."""
    lines = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(object_id) for mode, name, object_id in entries)
    tree = git(folder, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=lines)
    return git(folder, "commit-tree", tree, "-m", "forged")


def test_a_forged_tree_cannot_write_outside(source: Path, tmp_path: Path) -> None:
    blob = git(source, "rev-parse", "HEAD:train.py")
    inner = git(source, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"100644 evil\0" + bytes.fromhex(blob))
    for name in ("..", ".git", ".GIT", "."):
        forged = forged_commit(source, ("40000", name, inner))
        with pytest.raises(BadInput, match="may not be written"):
            code.checkout(f"{source}@{forged}", tmp_path / "code" / "inner")
    assert not (tmp_path / "code" / "evil").exists()


def test_a_forged_tree_cannot_write_through_its_own_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    link = git(source, "hash-object", "-w", "--stdin", stdin=str(tmp_path / "target").encode())
    inner_link = git(source, "hash-object", "-w", "--stdin", stdin=b"x")
    inner = git(source, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"120000 evil\0" + bytes.fromhex(inner_link))
    forged = forged_commit(source, ("120000", "a", link), ("40000", "a", inner))
    with pytest.raises(BadInput, match="as a file as well"):
        code.checkout(f"{source}@{forged}", tmp_path / "code")
    assert list((tmp_path / "target").iterdir()) == []


def test_submodules_are_left_out(source: Path, tmp_path: Path) -> None:
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{UNKNOWN},vendored")
    git(source, "commit", "--quiet", "--message=submodule")
    code.checkout(f"{source}@{git(source, 'rev-parse', 'HEAD')}", tmp_path / "code")
    assert not (tmp_path / "code" / "vendored").exists()
