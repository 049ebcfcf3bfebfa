"""Replay of a function's calls on a GPU, as CUDA graphs."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import torch

from .fused import fused_kernels_enabled
from .tracing import is_traced

# Number of calls that run the function itself, which loads its kernels.
EAGER_CALLS = 3
# Number of signatures that are remembered; a graph keeps memory.
MOST_SIGNATURES = 8
# Size of the largest input, in values: a larger one keeps the GPU busy for longer than the host needs to launch.
MOST_VALUES = 2**25

logger = logging.getLogger(__name__)
# PyTorch captures one graph at a time, and replays of one memory pool must not overlap.
_lock = threading.RLock()
_failed_graphs: list[torch.cuda.CUDAGraph] = []


class Captured:
    """Function whose repeated calls on a GPU replay a CUDA graph, which saves the host from launching every kernel.

    For each signature (shapes, types and device of the inputs, gradient mode, autocast, fused kernels), the first three
    calls run the function, the fourth captures it, and all later ones replay it with the same result, to the byte. A
    function that cannot be captured, such as one that makes the host wait for the device, always runs itself.

    Args:
        function: function of tensors that returns a tensor or a tuple of tensors (or None), without gradients. Beyond
            its inputs, it may only read and change tensors in place that keep their memory, such as the weights of a
            network: a replay sees new values, but not that a network was moved to another device or type.

    Example:
        >>> import torch
        >>> Captured(torch.square)(torch.tensor([3.0])).tolist()
        [9.0]
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._can_be_captured = True
        # Number of calls, or the graph, of each signature; the most recent is last.
        self._signatures: OrderedDict[tuple[object, ...], int | _Graph] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the function alone: a graph belongs to its process and its memory."""
        return Captured, (self.function,)

    def __call__(self, *inputs: Any) -> Any:
        """Return the results of the function, which later calls do not overwrite."""
        if not (self._can_be_captured and _runs_on_gpu(inputs)):
            return self.function(*inputs)
        signature = _signature(inputs)
        with _lock:
            graph = self._graph_of(signature, inputs)
            if graph is not None:
                return graph.replay(inputs)
        outputs = self.function(*inputs)
        with _lock:  # only calls that have ended count, since kernels cannot be loaded within a capture
            calls = self._signatures.get(signature)
            if isinstance(calls, int):
                self._signatures[signature] = calls + 1
        return outputs

    def _graph_of(self, signature: tuple[object, ...], inputs: Sequence[torch.Tensor]) -> _Graph | None:
        """Return the graph for inputs, captured now if it is time; None to run the function."""
        known = self._signatures.pop(signature, 0)
        if isinstance(known, int) and known >= EAGER_CALLS:
            known = self._capture(inputs)
        self._signatures[signature] = known
        if len(self._signatures) > MOST_SIGNATURES:
            self._signatures.popitem(last=False)
        return None if isinstance(known, int) else known

    def _capture(self, inputs: Sequence[torch.Tensor]) -> _Graph | int:
        """Return a new graph, or 0 if the function cannot be captured, which is logged."""
        # Graphs that run one after the other can share their memory.
        others = [graph for graph in self._signatures.values() if not isinstance(graph, int)]
        try:
            return _Graph(self.function, inputs, others[0] if others else None)
        except RuntimeError as error:
            self._can_be_captured = False
            self._signatures.clear()
            # An error within a capture causes a second one at its end.
            reason = str(error.__context__ or error).strip().partition("\n")[0]
            logger.warning("CUDA graphs are not used, so small images take longer: %s", reason)
            return 0


class CapturedGradients:
    """Gradients of a function with respect to parameters, by a captured forward and backward pass, see `Captured`.

    The optimiser's step is left to the caller, so that any optimiser, schedule and clipping of gradients works.

    Args:
        function: function of tensors that returns the loss, a scalar, and any further tensors.
        parameters: parameters on which the loss depends; those that do not require a gradient, or that the loss does
            not depend on, get none.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.tensor([2.0]))
        >>> gradients = CapturedGradients(lambda x: ((weight * x).sum(), weight * x), [weight])
        >>> [result.tolist() for result in gradients(torch.tensor([3.0]))], weight.grad.tolist()
        ([6.0, [6.0]], [3.0])
    """

    def __init__(
        self, function: Callable[..., tuple[torch.Tensor, ...]], parameters: Iterable[torch.nn.Parameter]
    ) -> None:
        self.function = function
        self.parameters = list(parameters)
        self._captured = Captured(self._results_and_gradients)

    def __call__(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        """Set the gradient of each parameter, and return the results of the function, detached."""
        results, gradients = self._captured(*inputs)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return results

    def _results_and_gradients(self, *inputs: Any) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor | None, ...]]:
        for parameter in self.parameters:
            parameter.grad = None
        results = self.function(*inputs)
        results[0].backward()
        # Results that kept the autograd graph would tie the next backward pass to the stream of this one.
        return tuple(result.detach() for result in results), tuple(parameter.grad for parameter in self.parameters)


class _Graph:
    """Captured call of a function, with inputs and outputs at fixed places in memory.

    Args:
        function: function to capture.
        inputs: its inputs.
        shares: graph whose memory this one shares.

    Raises:
        RuntimeError: if the function cannot be captured.
    """

    def __init__(self, function: Callable[..., Any], inputs: Sequence[torch.Tensor], shares: _Graph | None) -> None:
        self.inputs = [given.detach().clone() for given in inputs]
        self.pool: Any = torch.cuda.graph_pool_handle() if shares is None else shares.pool
        self.replayed: torch.cuda.Event = torch.cuda.Event() if shares is None else shares.replayed
        device = inputs[0].device
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            self.graph = torch.cuda.CUDAGraph()
            # Weights that autocast has converted earlier are freed when it ends.
            torch.clear_autocast_cache()
            # A graph that the garbage collector frees would end this capture.
            collects = gc.isenabled()
            gc.collect()
            gc.disable()
            try:
                with torch.cuda.graph(self.graph, self.pool, _capture_stream(device), "thread_local"):
                    self.outputs = function(*self.inputs)
                    if _needs_gradient(self.outputs):
                        raise RuntimeError("a result needs a gradient")
            except RuntimeError:
                _end_failed_capture(self.graph, self.pool)
                raise
            finally:
                torch.clear_autocast_cache()
                if collects:
                    gc.enable()

    def replay(self, inputs: Sequence[torch.Tensor]) -> Any:
        """Return copies of the outputs for inputs of the same signature."""
        with torch.cuda.device(inputs[0].device):
            # Another thread may use another stream.
            torch.cuda.current_stream().wait_event(self.replayed)
            for place, given in zip(self.inputs, inputs, strict=True):
                place.copy_(given.detach())
            self.graph.replay()
            outputs = _copied(self.outputs)
            self.replayed.record()
        return outputs


def _runs_on_gpu(inputs: Sequence[Any]) -> bool:
    """Return whether a call with these inputs may be captured."""
    return (
        bool(inputs)
        and all(isinstance(given, torch.Tensor) and given.is_cuda for given in inputs)
        and len({given.device for given in inputs}) == 1
        and max(given.numel() for given in inputs) <= MOST_VALUES
        and not is_traced()
        and not torch.cuda.is_current_stream_capturing()
    )


def _signature(inputs: Sequence[torch.Tensor]) -> tuple[object, ...]:
    """Return everything on which the kernels of a call depend, besides what the function holds."""
    device = inputs[0].device.type
    return (
        *((given.shape, given.stride(), given.dtype, given.device) for given in inputs),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        fused_kernels_enabled(),
    )


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which graphs are captured: the same one, since cuBLAS allocates memory for each stream."""
    return torch.cuda.Stream(device)


def _end_failed_capture(graph: torch.cuda.CUDAGraph, pool: Any) -> None:
    """End what PyTorch leaves open after an error: its allocator would refuse to free memory for good."""
    graph.reset()
    _failed_graphs.append(graph)  # the allocator of pinned memory still refers to it
    with suppress(RuntimeError):  # an error that left the capture itself intact has ended it
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
    # PyTorch before 2.12 leaves the state of the random numbers in capture; a copy of it is not.
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())


def _needs_gradient(outputs: Any) -> bool:
    """Return whether a tensor among nested tuples is part of an autograd graph."""
    if isinstance(outputs, tuple):
        return any(map(_needs_gradient, outputs))
    return outputs is not None and outputs.requires_grad


def _copied(outputs: Any) -> Any:
    """Return copies of tensors in nested tuples."""
    if isinstance(outputs, tuple):
        return tuple(map(_copied, outputs))
    return None if outputs is None else outputs.clone()
