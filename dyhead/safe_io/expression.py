"""Evaluating plain arithmetic without running code."""

import ast
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_LENGTH = 2000
MAX_STEPS = 20_000
MAX_MAGNITUDE = 1e18
MAX_EXPONENT = 64

Number = int | float

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "round": round}


def evaluate(expression: str) -> Any:
    """Compute an expression of numbers, such as "[x * 2 for x in [32, 64]]".

    Numbers, + - * / // % **, lists, tuples, list comprehensions over them, int(), float(), round()
    of a number and range() are understood; nothing else is, and nothing is ever executed.

    Returns:
        A number, or lists and tuples of them.

    Raises:
        ValueError: the expression holds anything else, is malformed, or is too large.
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _Evaluator().value(tree.body, {})
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} is no well-formed expression") from error
    except ArithmeticError as error:
        raise ValueError(f"{expression!r} cannot be computed ({error})") from error


class _Evaluator:
    """Walks a syntax tree; `names` holds the variables of the comprehensions around a node."""

    def __init__(self) -> None:
        self._steps = 0

    def value(self, node: ast.AST, names: dict[str, Number]) -> Any:
        self._count_steps(1)
        match node:
            case ast.Constant(value=number):
                return _bounded(number)
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return _UNARY[type(op)](self._number(operand, names))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _binary(op, self._number(left, names), self._number(right, names))
            case ast.List(elts=elements):
                return [self.value(element, names) for element in elements]
            case ast.Tuple(elts=elements):
                return tuple(self.value(element, names) for element in elements)
            case ast.ListComp(elt=element, generators=generators):
                return [self.value(element, inner) for inner in self._scopes(generators, names)]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, [self._number(argument, names) for argument in arguments])
        raise ValueError(f"{ast.unparse(node)!r} is not plain arithmetic of numbers")

    def _number(self, node: ast.AST, names: dict[str, Number]) -> Number:
        return _bounded(self.value(node, names))

    def _call(self, name: str, arguments: list[Number]) -> Any:
        if name in _CONVERSIONS and len(arguments) == 1:
            return _CONVERSIONS[name](arguments[0])
        if name == "range" and 1 <= len(arguments) <= 3 and all(type(a) is int for a in arguments):
            return self._range(arguments)
        raise ValueError(f"{name}() with {len(arguments)} such arguments is not allowed")

    def _range(self, arguments: list[Any]) -> list[int]:
        numbers = range(*arguments)
        self._count_steps(len(numbers))  # before the list exists: it may be one of many
        return list(numbers)

    def _scopes(
        self, generators: list[ast.comprehension], names: dict[str, Number]
    ) -> Iterator[dict[str, Number]]:
        """Yield the variables of each round of a comprehension, outermost `for` first."""
        if not generators:
            yield names
            return
        first, *rest = generators
        if not isinstance(first.target, ast.Name) or first.ifs or first.is_async:
            raise ValueError("only `for name in numbers` is allowed in a list comprehension")
        for number in self._iterable(first.iter, names):
            self._count_steps(1)
            yield from self._scopes(rest, names | {first.target.id: _bounded(number)})

    def _iterable(self, node: ast.AST, names: dict[str, Number]) -> Iterable[Any]:
        numbers = self.value(node, names)
        if not isinstance(numbers, list | tuple):
            raise ValueError(f"{ast.unparse(node)!r} is not a list of numbers")
        return numbers

    def _count_steps(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise ValueError("the expression takes too many steps")


def _binary(op: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(op, ast.Pow) and abs(right) > MAX_EXPONENT:
        raise ValueError(f"the exponent {right} is too large")
    return _bounded(_BINARY[type(op)](left, right))


def _bounded(value: Any) -> Number:
    # An exact type test: True is an int to isinstance, and is no number here.
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is not a number")
    if abs(value) > MAX_MAGNITUDE:
        raise ValueError("a number is too large")
    return value
