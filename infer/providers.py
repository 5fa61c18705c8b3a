"""Where a network runs: the choice among ONNX Runtime's execution providers, and what to do when one does not load.

ONNX Runtime itself falls back to the CPU in silence; here the fallback is a warning that says how to cure it.
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ORT_NAMES = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",  # last: auto never takes it, it compiles for minutes
}
PROVIDERS = ("auto", *ORT_NAMES)
REMEDIES = {
    "cuda": "pip install 'allaprima[gpu]' in place of [cpu], and check the NVIDIA driver",
    "tensorrt": "pip install 'allaprima[gpu]' in place of [cpu], and install the TensorRT libraries",
    "directml": "on Windows, pip install onnxruntime-directml in place of onnxruntime",
    "coreml": "CoreML is for macOS only",
}
"""What to do where a provider is not there."""
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
"""Packages that own the one module `onnxruntime`."""
_ERRORS, _SILENT = 3, 4  # levels of its log; 4 is "fatal": what goes wrong comes back as an exception
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


def open_session(
    model: bytes, *, provider: str = "auto", threads: int | None = None, keep_memory: bool = True
) -> tuple["InferenceSession", str]:
    """Make a session on the provider asked for, or else on the CPU with a warning.

    Args:
        model: a vetted ONNX file.
        provider: one of `PROVIDERS`.
        threads: CPU threads; None lets ONNX Runtime choose.
        keep_memory: whether the CPU's working memory stays for the next frame.

    Returns:
        The session, and the name (as in `PROVIDERS`) of the provider that really loaded.

    Raises:
        InputError: an unknown provider, a wrong number of threads, or no usable ONNX Runtime.
        Exception: ONNX Runtime's own, which has no common base: the model does not load.
    """
    wanted = wanted_provider(provider)
    if threads is not None and threads < 1:
        raise InputError(f"threads: got {threads}, expected 1 or more")
    ort = import_onnxruntime()
    available = set(ort.get_available_providers())
    session = None
    if wanted != "cpu" and ORT_NAMES[wanted] in available:
        session = _try_session(ort, model, wanted, threads, keep_memory)
    if session is None:
        session = _make_session(ort, model, "cpu", threads, keep_memory)
    loaded = {ort_name: n for n, ort_name in ORT_NAMES.items()}[session.get_providers()[0]]
    if loaded != wanted:
        warnings.warn(
            f"provider '{wanted}' did not load, running on '{loaded}' instead: {REMEDIES[wanted]} "
            "(allaprima doctor tells why)",
            RuntimeWarning,
            stacklevel=3,
        )
    return session, loaded


def wanted_provider(provider: str) -> str:
    """`provider` itself, or for `auto` the best that this ONNX Runtime has.

    Raises:
        InputError: an unknown provider, or no usable ONNX Runtime.
    """
    if provider not in PROVIDERS:
        raise InputError(f"provider '{provider}' is unknown: choose one of {', '.join(PROVIDERS)}")
    if provider != "auto":
        return provider
    available = set(import_onnxruntime().get_available_providers())
    return next(name for name, ort_name in ORT_NAMES.items() if ort_name in available)


def why_not(model: bytes, provider: str) -> str | None:
    """Try to load `model` on `provider`, and tell why it does not load.

    While it tries, what any thread of this process writes to stderr is swallowed: ONNX Runtime tells the reason there.

    Args:
        model: a vetted ONNX file.
        provider: one of `ORT_NAMES`.

    Returns:
        The reason as one line; None: it loads.

    Raises:
        InputError: no usable ONNX Runtime.
    """
    ort = import_onnxruntime()
    if ORT_NAMES[provider] not in ort.get_available_providers():
        return "the ONNX Runtime installed here is built without it"
    loaded, failure = None, ""
    with _stderr_lines() as log:
        try:
            _prepare(ort, provider, _ERRORS)
            loaded = _make_session(ort, model, provider, None, True).get_providers()[0]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            failure = str(error)
        finally:
            ort.set_default_logger_severity(_SILENT)
    if loaded == ORT_NAMES[provider]:
        return None
    told = [line for line in log if ":onnxruntime:" in line]  # more to the point than the exception, if there is one
    return _reason(next(iter(told), failure)) or "ONNX Runtime gives no reason"


def available_providers() -> list[str]:
    """Those that the ONNX Runtime installed here was built with; whether they load is another matter.

    Raises:
        InputError: no usable ONNX Runtime.
    """
    available = import_onnxruntime().get_available_providers()
    return [name for name, ort_name in ORT_NAMES.items() if ort_name in available]


def import_onnxruntime() -> Any:
    """The `onnxruntime` module.

    Raises:
        InputError: not installed, broken, or installed twice: its packages all own the one module and overwrite it.
    """
    installed = [name for name in DISTRIBUTIONS if _is_installed(name)]
    if len(installed) > 1:
        raise InputError(
            f"{' and '.join(installed)} are both installed and overwrite each other: "
            f"pip uninstall -y {' '.join(installed)}, then pip install 'allaprima[cpu]' or 'allaprima[gpu]'"
        )
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(
            "ONNX Runtime is not installed: pip install 'allaprima[cpu]', or 'allaprima[gpu]' for an NVIDIA GPU"
        ) from error
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"ONNX Runtime does not load ({reason}): pip install --force-reinstall onnxruntime") from error
    return onnxruntime


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _try_session(
    ort: Any, model: bytes, name: str, threads: int | None, keep_memory: bool
) -> "InferenceSession | None":
    """A session on a GPU provider; None when that fails, whatever the reason: the CPU then tells a bad model apart."""
    try:
        _prepare(ort, name, _SILENT)
        return _make_session(ort, model, name, threads, keep_memory)
    except Exception:  # ONNX Runtime's exceptions have no common base
        return None


def _prepare(ort: Any, name: str, log_level: int) -> None:
    """Load what a GPU provider needs, and set what the log tells of it."""
    ort.set_default_logger_severity(log_level)  # a missing library is reported there, not to the session's logger
    if name in {"cuda", "tensorrt"} and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()


@contextlib.contextmanager
def _stderr_lines() -> Iterator[list[str]]:
    """Catch the lines that native code too writes to stderr; they are in the list once the block has ended."""
    lines: list[str] = []
    stderr = os.dup(2)
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8", errors="replace") as reader:
        thread = Thread(target=lambda: lines.extend(reader), daemon=True)
        thread.start()
        os.dup2(writing, 2)
        os.close(writing)
        try:
            yield lines
        finally:
            os.dup2(stderr, 2)  # closes the pipe, which ends the thread
            os.close(stderr)
            thread.join()


def _reason(message: str) -> str:
    """What a message of ONNX Runtime comes down to, without its date, colours and place in the source.

    "... [E:onnxruntime...] ...provider_bridge_ort.cc:2043 ...::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load
    library x.so with error: libcublasLt.so.13: cannot open shared object file" -> its part behind "error: ".
    """
    line = " ".join(_COLOURS.sub("", message).split())
    for before in (" with error: ", " : FAIL : ", "] "):
        if before in line:
            return line.rpartition(before)[2]
    return line


def _make_session(ort: Any, model: bytes, name: str, threads: int | None, keep_memory: bool) -> "InferenceSession":
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0  # 0: ONNX Runtime chooses
    options.enable_cpu_mem_arena = keep_memory
    options.enable_mem_pattern = False  # it makes no frame faster and takes 20 MB; DirectML does not support it
    options.add_session_config_entry("session.force_spinning_stop", "1")  # no spinning between the frames of a camera
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never guess from the content
    chain = {"tensorrt": ["tensorrt", "cuda", "cpu"], "cpu": ["cpu"]}.get(name, [name, "cpu"])
    available = ort.get_available_providers()
    session: InferenceSession = ort.InferenceSession(
        model,
        options,
        providers=[ORT_NAMES[n] for n in chain if ORT_NAMES[n] in available],
        enable_fallback=0,  # ours warns; theirs prints
        read_config_from_model=0,
    )
    return session
