"""A config file's values, worked out without running it: literals, ``dict(...)``, bounded
arithmetic, loops and the base files that obey the same rules.

Nothing is compiled. Each node is looked up in a table of what configs need, and every step spends
from one budget, so that neither time nor memory depends on what a stranger wrote.
"""

import ast
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vtonlab.engine.config.names import OURS

STEPS = 100_000  # a shipped config takes 3 000
FILE_BYTES = 1_000_000
FILES = 100
DEPTH = 60
BITS = 128  # of an integer
LENGTH = 100_000  # of a text or a list
_SCALARS = (str, int, float, bool, type(None))


class Refused(ValueError):  # noqa: N818 - a verdict, told to the user as a sentence
    """A config does more than describe values, or more than its share of work."""


class Budget:
    """Steps and files that are left to one config with all its bases."""

    def __init__(self) -> None:
        self.steps, self.files = STEPS, FILES

    def spend(self, steps: int = 1) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise Refused("it takes too long to work out, or grows too large")

    def weigh(self, value: Any, depth: int = 0) -> None:
        """Spend a step for everything in ``value``, as often as it stands there."""
        self.spend()
        if depth > DEPTH:
            raise Refused("it is nested too deeply")
        if isinstance(value, dict):
            for key, item in value.items():
                self.weigh(key, depth + 1)
                self.weigh(item, depth + 1)
        elif isinstance(value, (list, tuple, set)):
            for item in value:
                self.weigh(item, depth + 1)
        elif isinstance(value, str):
            self.spend(len(value) // 100)


def evaluate_file(path: Path, budget: Budget) -> dict[str, Any]:
    """All top-level names of a config file, those of its bases among them, as plain values.

    Raises:
        FileNotFoundError: no such file, or a base is missing.
        Refused: names file, line and what is not allowed.
    """
    return _plain(_evaluate(path, budget, ()))


def _evaluate(path: Path, budget: Budget, above: tuple[Path, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}")
    budget.files -= 1
    if path.absolute() in above or budget.files < 0:
        raise Refused(f"config {path} reads itself through its base files, or too many of them")
    with open(path, "rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise Refused(f"{path} is larger than {FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8")
        tree = ast.parse(text)
    except SyntaxError as error:
        raise Refused(f"config {path} is not Python: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused(f"config {path} is not Python: {error or type(error).__name__}") from None
    if "{{" in text:
        raise Refused(f"{path}: mmengine would substitute its '{{{{...}}}}'")
    scope = _Scope(path, budget, (*above, path.absolute()))
    scope.run(tree.body)
    budget.weigh(scope.names)
    return scope.names


class _Scope:
    def __init__(self, path: Path, budget: Budget, above: tuple[Path, ...]) -> None:
        self.path, self.budget, self.above = path, budget, above
        self.names: dict[str, Any] = {}
        self.depth = 0

    # statements -----------------------------------------------------------------------------------

    def run(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            try:
                self._statement(node)
            except Refused as error:
                if str(error).startswith((str(self.path), "config ")) or ", line " in str(error):
                    raise
                raise Refused(f"{self.path}, line {node.lineno}: {error}") from None
            except RecursionError:
                raise Refused(f"{self.path}, line {node.lineno}: nested too deeply") from None
            except (ArithmeticError, LookupError, TypeError, AttributeError, ValueError) as error:
                raise Refused(
                    f"{self.path}, line {node.lineno}: {type(error).__name__}: {error}"
                ) from None

    def _statement(self, node: ast.stmt) -> None:
        self.budget.spend()
        act = _STATEMENTS.get(type(node))
        if act is None:
            raise Refused(f"{type(node).__name__} is more than a config needs")
        act(self, node)

    def _assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._bind(target, value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._bind(node.target, self.value(node.value))

    def _augmented(self, node: ast.AugAssign) -> None:
        old = self.value(node.target)
        self._bind(node.target, self._binary(node.op, old, self.value(node.value)))

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            _check_name(target.id)
            self.names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            items = self.items(value)
            if any(isinstance(t, ast.Starred) for t in target.elts):
                raise Refused("a starred target is more than a config needs")
            for part, item in zip(target.elts, items, strict=True):
                self._bind(part, item)
        elif isinstance(target, ast.Subscript):
            holder, key = self.value(target.value), self.value(target.slice)
            self.budget.weigh(key)
            if not isinstance(holder, (dict, list)) or isinstance(key, slice):
                raise Refused("only an item of a dictionary or list is set")
            self.budget.weigh(value)
            holder[key] = value
        elif isinstance(target, ast.Attribute):
            holder = self.value(target.value)
            if not isinstance(holder, dict) or target.attr.startswith("_"):
                raise Refused(f"it sets the attribute {target.attr!r}")
            self.budget.weigh(value)
            holder[target.attr] = value
        else:
            raise Refused(f"it assigns to a {type(target).__name__}")

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                del self.names[target.id]
            elif isinstance(target, ast.Subscript):
                holder = self.value(target.value)
                if not isinstance(holder, (dict, list)):
                    raise Refused("only an item of a dictionary or list is deleted")
                del holder[self.value(target.slice)]
            else:
                raise Refused(f"it deletes a {type(target).__name__}")

    def _if(self, node: ast.If) -> None:
        for inner in node.body if self.value(node.test) else node.orelse:
            self._statement(inner)

    def _for(self, node: ast.For) -> None:
        for item in self.items(self.value(node.iter)):
            self._bind(node.target, item)
            for inner in node.body:
                self._statement(inner)
        for inner in node.orelse:
            self._statement(inner)

    def _with(self, node: ast.With) -> None:
        call = node.items[0].context_expr
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", None) == "read_base"):
            raise Refused("`with` is for read_base() alone")
        for inner in node.body:
            if not isinstance(inner, ast.ImportFrom):
                raise Refused("read_base() holds imports of base files alone")
            self._base(inner)

    def _import(self, node: ast.ImportFrom) -> None:
        if node.module != "mmengine.config" or [n.name for n in node.names] != ["read_base"]:
            raise Refused(f"it imports from {'.' * node.level}{node.module or ''}")

    def _base(self, node: ast.ImportFrom) -> None:
        parts = (node.module or "").split(".")
        if node.level and node.module:  # as mmengine finds it: links are not resolved
            up = [".."] * (node.level - 1)
            file = self.path.absolute().parent.joinpath(*up, *parts).with_suffix(".py")
        elif not node.level and parts[:2] == ["vtonlab", "configs"]:
            file = OURS.joinpath(*parts[2:]).with_suffix(".py")
        else:
            raise Refused(f"it imports from {'.' * node.level}{node.module or ''}")
        found = _unshared(_evaluate(file, self.budget, self.above))
        for name in node.names:
            if name.name == "*":
                self.names.update(found)
            else:
                _check_name(name.asname or name.name)
                self.names[name.asname or name.name] = found[name.name]

    # expressions ----------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Any:
        self.budget.spend()
        act = _EXPRESSIONS.get(type(node))
        if act is None:
            raise Refused(f"{type(node).__name__} is more than a config needs")
        self.depth += 1
        if self.depth > DEPTH:
            raise Refused("it is nested too deeply")
        try:
            return act(self, node)
        finally:
            self.depth -= 1

    def items(self, value: Any) -> list:
        """What iterating over a value gives."""
        if not isinstance(value, (list, tuple, set, dict, str, range)):
            raise Refused(f"it iterates over a {type(value).__name__}")
        self.budget.spend(len(value))
        return list(value)

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, _SCALARS):
            raise Refused(f"the constant {str(node.value)[:20]} is more than a config needs")
        return _bounded(node.value)

    def _name(self, node: ast.Name) -> Any:
        _check_name(node.id)
        if node.id in self.names:
            return self.names[node.id]
        if node.id in _FUNCTIONS:
            raise Refused(f"{node.id} is a function, not a value")
        raise Refused(f"{node.id!r} is not defined")

    def _attribute(self, node: ast.Attribute) -> Any:
        holder = self.value(node.value)
        if node.attr.startswith("_") or not isinstance(holder, dict) or node.attr not in holder:
            raise Refused(f"attribute {node.attr!r} of a {type(holder).__name__}")
        return holder[node.attr]

    def _subscript(self, node: ast.Subscript) -> Any:
        holder, key = self.value(node.value), self.value(node.slice)
        self.budget.weigh(key)
        if not isinstance(holder, (dict, list, tuple, str, range)):
            raise Refused(f"it takes an item of a {type(holder).__name__}")
        return holder[key]

    def _slice(self, node: ast.Slice) -> slice:
        return slice(*(p and self.value(p) for p in (node.lower, node.upper, node.step)))

    def _sequence(self, node: ast.List | ast.Tuple | ast.Set) -> Any:
        found: list = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                found += self.items(self.value(item.value))
            else:
                found.append(self.value(item))
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return self._measured(kind(found))

    def _dict(self, node: ast.Dict) -> dict:
        found = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found.update(self.value(value))
            else:
                found[self.value(key)] = self.value(value)
        return self._measured(found)

    def _measured(self, value: Any) -> Any:
        self.budget.weigh(value)
        return value

    def _text(self, node: ast.JoinedStr) -> str:
        return _bounded("".join(str(self.value(part)) for part in node.values))

    def _formatted(self, node: ast.FormattedValue) -> str:
        value = self.value(node.value)
        if not isinstance(value, _SCALARS):
            raise Refused("only numbers and texts go into an f-string")
        spec = (node.format_spec and self.value(node.format_spec)) or ""
        if len(spec) > 8 or sum(c.isdigit() for c in spec) > 2:
            raise Refused(f"the format {spec[:12]!r} is more than a config needs")
        convert = {115: str, 114: repr, 97: ascii}.get(node.conversion, lambda v: v)
        return format(convert(value), spec)

    def _binary_node(self, node: ast.BinOp) -> Any:
        return self._binary(node.op, self.value(node.left), self.value(node.right))

    def _binary(self, op: ast.operator, a: Any, b: Any) -> Any:
        act = _BINARY.get(type(op))
        if act is None:
            raise Refused(f"{type(op).__name__} is more than a config needs")
        self.budget.weigh(a)
        self.budget.weigh(b)
        _check_growth(op, a, b)
        return self._measured(_bounded(act(a, b)))

    def _unary(self, node: ast.UnaryOp) -> Any:
        return _UNARY[type(node.op)](self.value(node.operand))

    def _bool(self, node: ast.BoolOp) -> Any:
        stop = isinstance(node.op, ast.Or)
        for part in node.values:
            found = self.value(part)
            if bool(found) == stop:
                break
        return found

    def _compare(self, node: ast.Compare) -> bool:
        left = self._measured(self.value(node.left))
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._measured(self.value(right_node))
            if not _COMPARE[type(op)](left, right):
                return False
            left = right
        return True

    def _choice(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _comprehension(self, node: ast.expr) -> Any:
        found: list = []
        outer = dict(self.names)
        try:
            self._loops(node.generators, node, found)
        finally:
            self.names = outer
        if isinstance(node, ast.DictComp):
            return self._measured(dict(found))
        return self._measured(set(found) if isinstance(node, ast.SetComp) else found)

    def _loops(self, generators: list, node: Any, found: list) -> None:
        if not generators:
            if isinstance(node, ast.DictComp):
                found.append((self.value(node.key), self.value(node.value)))
            else:
                found.append(self.value(node.elt))
            return
        first, *rest = generators
        for item in self.items(self.value(first.iter)):
            self._bind(first.target, item)
            if all(self.value(test) for test in first.ifs):
                self._loops(rest, node, found)

    def _call(self, node: ast.Call) -> Any:
        function = self._function(node.func)
        given: list = []
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                given += self.items(self.value(argument.value))
            else:
                given.append(self.value(argument))
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                named.update(self.value(keyword.value))
            else:
                named[keyword.arg] = self.value(keyword.value)
        self.budget.weigh(given)
        self.budget.weigh(named)
        result = function(*given, **named)
        if not isinstance(result, (*_SCALARS, list, tuple, dict, set, range)):
            result = list(result)  # zip, enumerate, items and the like
        return self._measured(_bounded(result))

    def _function(self, node: ast.expr) -> Callable:
        if isinstance(node, ast.Name) and node.id in _FUNCTIONS and node.id not in self.names:
            return _FUNCTIONS[node.id]
        if isinstance(node, ast.Attribute):
            holder = self.value(node.value)
            kinds = [k for k in (dict, list) if isinstance(holder, k)]
            if kinds and node.attr in _METHODS[kinds[0]]:
                self.budget.weigh(holder)
                return getattr(holder, node.attr)
        name = getattr(node, "id", getattr(node, "attr", type(node).__name__))
        raise Refused(f"it calls {name}")


class _Inherited(dict):
    """What a base file gives. As mmengine's `ConfigDict`: its dictionaries merge deeply when they
    are updated, and what is put in is copied.
    """

    def __init__(self, values: Any = ()) -> None:
        super().__init__()
        for key, value in dict(values).items():
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, _unshared(value) if type(value) is not _Inherited else value)

    def update(self, *others: Any, **more: Any) -> None:
        for key, value in dict(*others, **more).items():
            if isinstance(self.get(key), dict) and isinstance(value, dict):
                self[key].update(value)
            else:
                self[key] = value

    def copy(self) -> "_Inherited":
        return _Inherited(self)

    def pop(self, key: Any, default: Any = None) -> Any:
        return super().pop(key, default)


def _unshared(value: Any) -> Any:
    """A copy in which nothing stands at two places, as mmengine makes of what a base file gives."""
    if isinstance(value, dict):
        return _Inherited({key: _unshared(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return type(value)(_unshared(item) for item in value)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


def _check_name(name: str) -> None:
    if name.startswith("__") or name in ("_base_", "_scope_", "_import_"):
        raise Refused(f"private name {name!r}")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > BITS:
        raise Refused(f"an integer of more than {BITS} bits")
    if isinstance(value, (str, list, tuple, dict, set)) and len(value) > LENGTH:
        raise Refused(f"a {type(value).__name__} longer than {LENGTH}")
    return value


def _check_growth(op: ast.operator, a: Any, b: Any) -> None:
    """What an operation would give, before it takes the memory."""
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    sized = (str, list, tuple)
    if isinstance(op, ast.Pow) and not (numbers and abs(b) <= BITS and abs(a) <= 2**32):
        raise Refused("a power this large")
    if isinstance(op, ast.LShift) and not (numbers and 0 <= b <= BITS):
        raise Refused("a shift this large")
    if isinstance(op, ast.Mod) and not numbers:
        raise Refused("`%` is for numbers")
    if isinstance(op, ast.Mult) and not numbers:
        times, many = (a, b) if isinstance(a, int) else (b, a)
        if not isinstance(times, int) or not isinstance(many, sized):
            raise Refused("a product of these")
        if len(many) * max(times, 0) > LENGTH:
            raise Refused(f"a {type(many).__name__} longer than {LENGTH}")


def _sum(values: Any, start: Any = 0) -> Any:
    if not all(isinstance(v, (int, float)) for v in [*values, start]):
        raise Refused("sum() is for numbers")
    return sum(values, start)


def _text_of(value: Any = "") -> str:
    if not isinstance(value, _SCALARS):
        raise Refused("str() is for numbers and texts")
    return str(value)


def _count(*bounds: int) -> range:
    found = range(*bounds)
    if found and len(found) > LENGTH:
        raise Refused(f"range of {len(found)}")
    return found


_FUNCTIONS: dict[str, Callable] = {
    **{f.__name__: f for f in (dict, list, tuple, set, len, min, max, sorted, zip, enumerate)},
    **{f.__name__: f for f in (round, abs, int, float, bool)},
    **{"range": _count, "sum": _sum, "str": _text_of},
}
_METHODS = {
    dict: frozenset("update copy get items keys values pop".split()),
    list: frozenset("append extend insert pop copy".split()),
}
_STATEMENTS: dict[type, Callable] = {
    ast.Assign: _Scope._assign,
    ast.AnnAssign: _Scope._annotated,
    ast.AugAssign: _Scope._augmented,
    ast.Delete: _Scope._delete,
    ast.Expr: lambda scope, node: scope.value(node.value),
    ast.Pass: lambda scope, node: None,
    ast.If: _Scope._if,
    ast.For: _Scope._for,
    ast.With: _Scope._with,
    ast.ImportFrom: _Scope._import,
}
_EXPRESSIONS: dict[type, Callable] = {
    ast.Constant: _Scope._constant,
    ast.Name: _Scope._name,
    ast.Attribute: _Scope._attribute,
    ast.Subscript: _Scope._subscript,
    ast.Slice: _Scope._slice,
    ast.Call: _Scope._call,
    ast.Dict: _Scope._dict,
    **dict.fromkeys([ast.List, ast.Tuple, ast.Set], _Scope._sequence),
    ast.JoinedStr: _Scope._text,
    ast.FormattedValue: _Scope._formatted,
    ast.BinOp: _Scope._binary_node,
    ast.UnaryOp: _Scope._unary,
    ast.BoolOp: _Scope._bool,
    ast.Compare: _Scope._compare,
    ast.IfExp: _Scope._choice,
    **dict.fromkeys(
        [ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp], _Scope._comprehension
    ),
}
_BINARY: dict[type, Callable] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
    **{ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod},
    **{ast.Pow: operator.pow, ast.LShift: operator.lshift, ast.RShift: operator.rshift},
    **{ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor},
}
_UNARY: dict[type, Callable] = {
    **{ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_},
    ast.Invert: operator.invert,
}
_COMPARE: dict[type, Callable] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not},
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
