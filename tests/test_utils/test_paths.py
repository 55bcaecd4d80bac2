"""Names from pair lists cannot leave the data root."""

import pytest

from vtonlab.utils.paths import check_name, resolve_inside

EVIL = [
    "../secret.jpg",
    "../../etc/passwd",
    "a/../../secret.jpg",
    "a/..",
    "..",
    "/etc/passwd",
    "~/x.jpg",
    "..\\secret.jpg",
    "C:\\x.jpg",
    "C:x.jpg",
    "//host/share",
    "a\0.jpg",
    "a\nb.jpg",
    "",
    "   ",
]
GOOD = ["a.jpg", "a/b.jpg", "..a.jpg", "a..b/c.jpg", "ünï cøde.jpg", "./a.jpg"]


@pytest.mark.parametrize("name", EVIL)
def test_evil_names_are_refused_in_one_sentence(tmp_path, name):
    for check in (check_name, lambda n: resolve_inside(tmp_path, n)):
        with pytest.raises(ValueError, match="may not be read") as error:
            check(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", GOOD)
def test_good_names_pass(tmp_path, name):
    assert check_name(name) == name
    assert resolve_inside(tmp_path, name) == (tmp_path / name).resolve()


def test_links_out_of_the_root_need_consent(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "x.jpg").write_bytes(b"x")
    (root / "link").symlink_to(other)
    (root / "inner").symlink_to(root)
    with pytest.raises(ValueError, match=r"link leads outside .* follow_links"):
        resolve_inside(root, "link/x.jpg")
    assert resolve_inside(root, "inner/y.jpg") == root.resolve() / "y.jpg"


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert resolve_inside(tmp_path / "root", "a.jpg") == (tmp_path / "real" / "a.jpg").resolve()
