"""Kernels as PyTorch's operators."""

import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_PLAIN = (Tensor, nn.Parameter)


class Operator(Generic[Arguments, Result]):
    """A function of tensors under a name of `torch.ops.retort`, with gradients.

    Tensors that hold numbers go to the function directly: PyTorch's dispatcher takes several times as long as a kernel
    of a small model. Fake tensors and `torch.compile` need the dispatcher, and find the registered operator.
    """

    def __init__(self, name: str, function: Callable[Arguments, Result]) -> None:
        """
        Args:
            function: gives new tensors, and changes none; annotated as `torch.library.custom_op` asks for.
        """
        self.__doc__ = function.__doc__
        self._function = function
        self._registered = torch.library.custom_op(f"retort::{name}", function, mutates_args=())
        parameters = inspect.signature(function).parameters.values()
        self._named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        self._defaults = [one.default for one in parameters if one.kind is not one.KEYWORD_ONLY]
        self._direct: Callable[..., Result] | None = None

    def register_fake(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Say of what kind and shape the results are, without numbers."""
        return self._registered.register_fake(function)

    def register_autograd(
        self,
        gradients: Callable[..., Any],
        *,
        setup_context: Callable[..., None],
    ) -> None:
        """Say how the gradients are found.

        Args:
            gradients: of the context and the gradients by the results, those by the arguments.
            setup_context: of the context, all arguments and the results; keeps what `gradients` needs. Where there are
                arguments that only a name gives, it takes them as `keyword_only_inputs`.
        """
        self._registered.register_autograd(gradients, setup_context=setup_context)
        function, names, count = self._function, self._named, len(self._defaults)

        class Direct(torch.autograd.Function):
            @staticmethod
            def forward(ctx: torch.autograd.function.FunctionCtx, *given: Any) -> Any:
                inputs, named = given[:count], dict(zip(names, given[count:], strict=True))
                output = function(*inputs, **named)
                others = {"keyword_only_inputs": named} if named else {}
                setup_context(ctx, inputs=inputs, output=output, **others)
                return output

            @staticmethod
            def backward(ctx: torch.autograd.function.FunctionCtx, *above: Any) -> Any:
                found = gradients(ctx, *above)
                found = found if isinstance(found, tuple) else (found,)
                return *found, *(None for _ in range(count + len(names) - len(found)))

        self._direct = Direct.apply

    def __call__(self, *inputs: Arguments.args, **named: Arguments.kwargs) -> Result:
        """The function's results."""
        learns = torch.is_grad_enabled() and any(map(_learns, inputs))
        plain = _plain(inputs) and len(named) == len(self._named)
        # The dispatcher knows how to refuse a gradient that there is not.
        if torch.compiler.is_compiling() or not plain or (learns and self._direct is None):
            result: Result = self._registered(*inputs, **named)
            return result
        if not learns or self._direct is None:
            return self._function(*inputs, **named)
        others = (named[name] for name in self._named)
        return self._direct(*inputs, *self._defaults[len(inputs) :], *others)


def operator(
    name: str,
) -> Callable[[Callable[Arguments, Result]], Operator[Arguments, Result]]:
    """Make a function an operator of this name."""

    def made(function: Callable[Arguments, Result]) -> Operator[Arguments, Result]:
        return Operator(name, function)

    return made


def _plain(inputs: tuple[object, ...]) -> bool:
    return all(type(one) in _PLAIN for one in inputs if isinstance(one, Tensor))


def _learns(one: object) -> bool:
    return isinstance(one, Tensor) and one.requires_grad
