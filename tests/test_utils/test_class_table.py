"""Facts are found for a class, for its bases, and by package and name."""

import pytest

from vtonlab.utils.class_table import ClassTable


class Base:
    pass


class Derived(Base):
    pass


def test_nearest_base_and_names():
    table = ClassTable("thing")
    table.add("of base", Base)
    assert table.find(Derived) == table.find(Derived()) == "of base"
    table.add("of derived", Derived)
    assert table.find(Derived()) == "of derived" and table.find(Base()) == "of base"
    assert table.find(object()) is None
    named = ClassTable("thing")
    named.add("named", f"{Base.__module__.partition('.')[0]}.Base")
    assert named.find(Derived()) == "named"
    assert ClassTable("thing").find(Derived()) is None


def test_a_class_of_the_same_name_elsewhere_is_another():
    table = ClassTable("thing")
    table.add("theirs", "diffusers.Base")
    assert table.find(Derived()) is None


def test_decorator_registers_an_instance():
    table = ClassTable("adapter")

    @table.register(Base)
    class Adapter:
        pass

    assert isinstance(table.find(Derived()), Adapter)
    assert table.classes() == ["Base"]


@pytest.mark.parametrize("classes", [(), ("NoPackage",), ("a.b.C",)])
def test_bad_names_are_refused(classes):
    with pytest.raises(ValueError, match="name"):
        ClassTable("thing").add(1, *classes)
