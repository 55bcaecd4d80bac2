"""Small weights that ship with the package, each with a card: ours, trained on rendered people."""

from vtonlab.zoo.box import Card, card, cards, load_weights, weights_path

__all__ = ["Card", "card", "cards", "load_weights", "weights_path"]
