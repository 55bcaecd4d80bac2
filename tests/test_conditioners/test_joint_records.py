"""Records of other tokens than they say are refused."""

import pytest
import torch
from torch import nn

from vtonlab.attention import BlockTokens
from vtonlab.conditioners.joint_records import joint_records
from vtonlab.registry import ATTENTION_BLOCKS

IMAGES, TEXT = 4, 3


class _Attention(nn.Module):
    def __init__(self, is_cross_attention):
        super().__init__()
        self.is_cross_attention = is_cross_attention
        self.processor = lambda *args: None


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = _Attention(False)


class _Other(nn.Module):
    def __init__(self, cross):
        super().__init__()
        self.attn = _Attention(cross)


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(ATTENTION_BLOCKS, "_facts", dict(ATTENTION_BLOCKS.items()))
    ATTENTION_BLOCKS.add(BlockTokens("joint", "image_first"), _Block)

    def make(block, queries, keys):
        to_record = joint_records(
            nn.Sequential(block),
            grid=(1, 2),
            person=torch.tensor([0, 1]),
            garment=torch.tensor([2, 3]),
            others=torch.tensor([0, 1]),
            text=torch.zeros(1, TEXT, 8),
        )
        query, key = torch.randn(1, 2, queries, 8), torch.randn(1, 2, keys, 8)
        return key, to_record("0.attn", query, key, 1.0)

    return make


def test_joint_and_image_only_sequences(make):
    key, record = make(_Block(), IMAGES + TEXT, IMAGES + TEXT)
    assert torch.equal(record.key, key[:, :, 2:4])
    assert torch.equal(record.context_key, key[:, :, [0, 1, 4, 5, 6]])
    key, record = make(_Other(False), IMAGES, IMAGES)
    assert torch.equal(record.context_key, key[:, :, :2])


@pytest.mark.parametrize(
    ("block", "counts", "said"),
    [
        (_Block(), (IMAGES, IMAGES), "4 queries and 4 keys, not the 7 tokens .4 of pictures, 3 of"),
        (_Other(False), (7, 7), "7 queries and 7 keys, not the 4 tokens"),  # text it does not tell
        (_Other(False), (4, 9), "4 queries and 9 keys, not the 4 tokens"),
        (_Other(True), (4, 3), "is cross-attention, whose keys hold no garment token"),
    ],
)
def test_another_number_of_tokens_is_refused(make, block, counts, said):
    with pytest.raises(ValueError, match="layer '0.attn' .*" + said):
        make(block, *counts)
