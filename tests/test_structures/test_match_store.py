"""MatchStore: what is read is what was written, from these pictures, with these settings."""

import pickle
from itertools import product

import numpy as np
import pytest
import torch

from vtonlab.structures import Correspondences, pair_store
from vtonlab.structures.match_store import MatchStore, open_store, store_request
from vtonlab.structures.pair_store import describe_difference, plain_settings

MATCHER = dict(type="SIFTMatcher", ratio=0.8, size=(512, 384))
VERSIONS = {"opencv": "5.0.0"}


@pytest.fixture
def photos(tmp_path):
    files = {name: tmp_path / f"{name}.jpg" for name in ("person", "garment")}
    for name, path in files.items():
        path.write_bytes(name.encode() * 100)
    return files


@pytest.fixture
def request_of(tmp_path):
    def make(**changes):
        return dict(matcher={**MATCHER, **changes}, root=str(tmp_path / "matches"))

    return make


MATCHES = Correspondences([[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]], [1.0, 0.5])


def filled(matches, data_root, photos):
    store = MatchStore.create(matches, data_root, "train", VERSIONS)
    store.write("a/1", "b", MATCHES, photos, {"ratio": 7})
    store.write("c", "c", Correspondences.empty(), photos)
    store.finish([("a/1", "b"), ("c", "c")], {})
    return store


def test_round_trip_through_open_store_and_pickle(tmp_path, request_of, photos):
    filled(request_of(), tmp_path, photos)
    store = pickle.loads(pickle.dumps(open_store(request_of(), tmp_path, "train")))
    back = store.read("a/1", "b", photos)
    assert torch.equal(back.person_points, MATCHES.person_points)
    assert torch.equal(back.garment_points, MATCHES.garment_points)
    assert torch.equal(back.scores, MATCHES.scores)
    assert len(store.read("c", "c", photos)) == 0
    assert store.report("a/1", "b") == {"ratio": 7} and store.report("c", "c") == {}
    store.check_pairs([("a/1", "b"), ("c", "c")])
    assert store.state("a/1", "b", photos) == "current"
    assert store.state("x", "x", photos) == "missing"
    with pytest.raises(ValueError, match=r"1 of 2 pairs.*d__d"):
        store.check_pairs([("c", "c"), ("d", "d")])


def test_same_content_gives_the_same_bytes(tmp_path, request_of, photos):
    first = {
        p.name: p.read_bytes()
        for p in filled(request_of(), tmp_path, photos).directory.rglob("*.*")
    }
    again = dict(request_of(), root=str(tmp_path / "second"))
    second = {
        p.name: p.read_bytes() for p in filled(again, tmp_path, photos).directory.rglob("*.*")
    }
    assert first == second and len(first) == 3


def test_missing_store_names_the_command_and_the_nearest_one(tmp_path, request_of, photos):
    with pytest.raises(FileNotFoundError, match=r"python tools/extract_matches\.py CONFIG"):
        open_store(request_of(), tmp_path, "train")
    filled(request_of(), tmp_path, photos)
    with pytest.raises(FileNotFoundError, match=r"matcher\.ratio: written 0\.8, wanted 0\.75"):
        open_store(request_of(ratio=0.75), tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="split: written 'train', wanted 'test'"):
        open_store(request_of(), tmp_path, "test")


def test_a_store_of_other_settings_or_versions_is_refused(tmp_path, request_of, photos):
    store = filled(request_of(), tmp_path, photos)
    other, _ = store_request(request_of(ratio=0.7), tmp_path, "train")
    store.directory.rename(other)
    with pytest.raises(ValueError, match=r"made differently.*ratio: written 0.8, wanted 0.7"):
        open_store(request_of(ratio=0.7), tmp_path, "train")
    filled(request_of(), tmp_path, photos)
    with pytest.raises(ValueError, match=r"versions\.opencv: written '5\.0\.0', wanted '4\.9\.0'"):
        MatchStore.create(request_of(), tmp_path, "train", {"opencv": "4.9.0"})


def test_unfinished_store_is_not_read(tmp_path, request_of):
    MatchStore.create(request_of(), tmp_path, "train", VERSIONS)
    with pytest.raises(ValueError, match="not finished"):
        open_store(request_of(), tmp_path, "train")


def test_changed_photograph_is_named(tmp_path, request_of, photos):
    store = filled(request_of(), tmp_path, photos)
    photos["garment"].write_bytes(b"another garment")
    with pytest.raises(ValueError, match=r"garment\.jpg has changed"):
        store.read("a/1", "b", photos)
    assert "has changed" in store.state("a/1", "b", photos)


def test_masks_that_change_come_or_go_are_named(tmp_path, request_of, photos):
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"mask")
    with_mask = {**photos, "mask": mask}
    store = filled(request_of(), tmp_path, with_mask)
    assert store.state("a/1", "b", with_mask) == "current"
    assert len(store.read("a/1", "b", photos)) == 2  # who does not read the mask knows nothing
    assert "from a file of 'mask', which is not there now" in store.state("a/1", "b", photos)
    with pytest.raises(ValueError, match="from a file of 'mask', which is not there now; run"):
        store.read("a/1", "b", {**photos, "mask": None})
    more = {**with_mask, "garment_mask": photos["garment"]}
    with pytest.raises(ValueError, match="was not there when the matches were made"):
        store.read("a/1", "b", more)
    mask.write_bytes(b"another mask")
    with pytest.raises(ValueError, match=r"mask\.png has changed"):
        store.read("a/1", "b", with_mask)
    assert "has changed" in store.state("a/1", "b", with_mask)


def test_an_entry_without_names_is_read_but_made_again(tmp_path, request_of, photos, monkeypatch):
    """As vtonlab once wrote them: the hashes of both photographs, in order."""
    hashes = np.array([pair_store.file_hash(path) for path in photos.values()], dtype="S32")
    store = MatchStore.create(request_of(), tmp_path, "train", VERSIONS)
    monkeypatch.setattr(store, "save", lambda *a: _save_unnamed(store, *a, hashes))
    store.write("a/1", "b", MATCHES, photos)
    monkeypatch.undo()
    store = MatchStore(store.directory)
    assert store.state("a/1", "b", photos) == "current"
    with_mask = {**photos, "mask": photos["garment"]}
    assert len(store.read("a/1", "b", with_mask)) == 2
    assert "noted no" in store.state("a/1", "b", with_mask)
    photos["person"].write_bytes(b"another person")
    with pytest.raises(ValueError, match=r"person\.jpg has changed"):
        store.read("a/1", "b", with_mask)


def _save_unnamed(store, person, garment, arrays, files, hashes):
    arrays = {**arrays, "images": hashes}
    checksum = np.frombuffer(pair_store._checksum(arrays), dtype=np.uint8)
    np.savez(store.path(person, garment), **arrays, checksum=checksum)


def test_settings_of_the_maps_are_part_of_the_store(tmp_path, request_of, photos):
    filled(request_of(), tmp_path, photos)
    box = {"build_mask": {"box": True}}
    with pytest.raises(FileNotFoundError, match=r"map_settings: written None, wanted .*box"):
        open_store(request_of(), tmp_path, "train", box)
    blind = {**request_of(), "maps": []}  # the matcher sees no map
    assert store_request(blind, tmp_path, "train", box) == store_request(blind, tmp_path, "train")


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_damaged_pair_is_named(tmp_path, request_of, photos, damage):
    store = filled(request_of(), tmp_path, photos)
    path = store.path("a/1", "b")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        at = data.find(MATCHES.person_points.numpy().tobytes())
        data[at] ^= 1
    path.write_bytes(
        b"" if damage == "empty" else data[: len(data) // 2] if damage == "truncate" else data
    )
    with pytest.raises(ValueError, match=r"a%2F1__b\.npz is damaged"):
        store.read("a/1", "b", photos)


def test_missing_pair_and_failed_pair(tmp_path, request_of, photos):
    store = filled(request_of(), tmp_path, photos)
    with pytest.raises(FileNotFoundError, match="'x'"):
        store.read("x", "x")
    store.finish([("c", "c"), ("x", "x")], {"x__x": "cannot read x.jpg"})
    with pytest.raises(FileNotFoundError, match=r"cannot read x\.jpg"):
        MatchStore(store.directory).read("x", "x")
    store = MatchStore(store.directory)
    store.check_pairs([("a/1", "b"), ("c", "c")])  # the first is of a data set before
    store.path("a/1", "b").unlink()
    store.finish([("c", "c")], {})
    with pytest.raises(ValueError, match="1 of 1 pairs have no"):
        MatchStore(store.directory).check_pairs([("a/1", "b")])


def test_create_sweeps_what_a_killed_writer_left(tmp_path, request_of, photos):
    store = filled(request_of(), tmp_path, photos)
    leftover = store.directory / "pairs" / ".tmp-4194999-a.npz"
    leftover.write_bytes(b"half")
    MatchStore.create(request_of(), tmp_path, "train", VERSIONS)
    assert not leftover.exists()


def test_no_two_pairs_share_a_file(tmp_path, request_of):
    assert pair_store.pair_key("00001_00", "b__c") == "00001_00__b__c"  # ordinary names stay
    names = ["".join(letters) for n in range(1, 5) for letters in product("a_", repeat=n)]
    names += ["%5F", "a%5F", "/", "%5F%5F"]
    keys = {pair_store.pair_key(*pair) for pair in product(names, repeat=2)}
    assert len(keys) == len(names) ** 2
    store = MatchStore.create(request_of(), tmp_path, "train", VERSIONS)
    store.write("a__b", "c", MATCHES)
    store.write("a", "b__c", Correspondences.empty())
    assert len(store.read("a__b", "c")) == 2 and len(store.read("a", "b__c")) == 0


def test_settings_are_plain(tmp_path):
    class SIFTMatcher:
        pass

    assert plain_settings(dict(type=SIFTMatcher, size=(1, 2))) == {
        "type": "SIFTMatcher",
        "size": [1, 2],
    }
    with pytest.raises(ValueError, match="numbers, strings"):
        plain_settings(dict(fn=lambda: 0))
    with pytest.raises(ValueError, match="matcher=dict"):
        open_store(dict(root="x"), tmp_path, "train")
    assert describe_difference({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == [
        "a.b: written 1, wanted 2",
        "c: written '(default)', wanted 3",
    ]
