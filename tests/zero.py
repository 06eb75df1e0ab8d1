"""A stand-in for Hugging Face's `spaces` on ZeroGPU, made after its version 0.51.3.

As there, GPU() gives a generator function to a worker that is forked at its first call and kept for later ones, and
arguments, yields and errors are pickled on their way. Only what has to do with devices is left out.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from functools import wraps
from types import ModuleType

import gradio as gr

FORK = multiprocessing.get_context("fork")


class Worker:
    def __init__(self, task) -> None:
        self.arguments, self.results, self.stop = FORK.SimpleQueue(), FORK.SimpleQueue(), FORK.Event()
        self.process = FORK.Process(target=self._work, args=(task,), daemon=True)
        self.process.start()

    def _work(self, task) -> None:
        while True:
            args, kwargs = self.arguments.get()
            self.stop.clear()
            try:
                for value in task(*args, **kwargs):
                    if self.stop.is_set():
                        break
                    self.results.put(("value", value))
            except Exception as error:
                self.results.put(("error", type(error).__name__))
            self.results.put(("end", None))


class Spaces(ModuleType):
    """To be put among sys.modules; `workers` are all that were forked."""

    def __init__(self) -> None:
        super().__init__("spaces")
        self.workers: list[Worker] = []
        self.seconds: list[int] = []  # of the device, as each call asked for them

    def GPU(self, task, duration):
        free: list[Worker] = []

        @wraps(task)
        def handler(*args, **kwargs):
            worker = free.pop() if free else Worker(task)
            if worker not in self.workers:
                self.workers.append(worker)
            self.seconds.append(duration(*args, **kwargs))
            arrived: queue.Queue = queue.Queue()
            worker.arguments.put((args, kwargs))

            def drain():
                kind = None
                while kind != "end":
                    kind, value = worker.results.get()
                    if kind == "end":
                        free.append(worker)
                    arrived.put((kind, value))

            draining = threading.Thread(target=drain, daemon=True)
            draining.start()
            try:
                while (item := arrived.get(timeout=60))[0] != "end":
                    if item[0] == "error":
                        raise gr.Error(item[1], title="ZeroGPU worker error", print_exception=False)
                    try:
                        yield item[1]
                    except GeneratorExit:
                        worker.stop.set()
                        raise
            finally:
                draining.join(60)

        return handler

    def close(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
