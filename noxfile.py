"""Quality gates: `nox`, or `nox --no-venv` in the current environment."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

_EACH_CORE = ("-n", "auto", "--dist", "loadfile")
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # of each process; the tests' tensors are small


def _install(session: nox.Session) -> None:
    """Install the project, unless the session runs in an environment that has it (--no-venv)."""
    if session.virtualenv.venv_backend != "none":
        session.install("-e", ".[dev]")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, docstrings, complexity and the import contracts."""
    _install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    _install(session)
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the quick tests; `full` runs the others too."""
    _install(session)
    session.run("pytest", *_EACH_CORE, "-m", "not slow and not alone", *session.posargs,
                env=_ONE_THREAD)  # fmt: skip
    if not session.posargs:
        session.run("pytest", "tests/architecture/test_startup.py", "-m", "alone")


@nox.session
def full(session: nox.Session) -> None:
    """Run every test, the fault suite in its short form among them, and print the coverage."""
    _install(session)
    # No test should depend on how busy the machine is; the limit only ends one that hangs.
    options = ("--timeout=1800", "--cov", "--cov-append", "--cov-report=")
    session.run("coverage", "erase")
    session.run("pytest", *_EACH_CORE, "-m", "not alone", *options, *session.posargs,
                env=_ONE_THREAD)  # fmt: skip
    session.run("pytest", "-m", "alone", *options, *session.posargs)
    session.run("coverage", "report")


@nox.session
def faults(session: nox.Session) -> None:
    """Run the fault suite with the counts of docs/reliability.md: some two hours."""
    _install(session)
    session.run("pytest", "tests/faults", *session.posargs, env={"ALEXNET_TEST_FAULTS": "long"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the readers of files from elsewhere, guided by coverage: a minute each."""
    if session.virtualenv.venv_backend != "none":
        session.install("-e", ".[dev,fuzz]")
    found = f"-artifact_prefix={session.create_tmp()}/"
    for target in ("tar", "pickle", "npy"):
        options = session.posargs or ["-max_total_time=60"]
        session.run("python", "-m", "tests.fuzz.run", target, found, *options)


@nox.session
def browser(session: nox.Session) -> None:
    """Run examples/web and a report in the Chromium on the PATH, with what npm installs."""
    if session.virtualenv.venv_backend != "none":
        session.install("-e", ".[dev,browser]")
    for folder in ("examples/web", "tests/browser"):
        with session.chdir(folder):
            session.run("npm", "install", "--no-package-lock", external=True)
    session.run("pytest", "tests/browser", *session.posargs,
                env={"ALEXNET_TEST_BROWSER": "required"})  # fmt: skip


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into site/."""
    _install(session)
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def trackers(session: nox.Session) -> None:
    """Test the experiment trackers; the packages of two of them are large."""
    if session.virtualenv.venv_backend != "none":
        session.install("-e", ".[dev,tensorboard,wandb,mlflow]")
    session.run("pytest", "tests/unit/training/test_tracking.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Train, kill and resume for half an hour; memory and open files must stay flat."""
    _install(session)
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo in an empty folder (`full` runs it too)."""
    _install(session)
    with session.chdir(session.create_tmp()):
        session.run("alexnet", "demo")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the short form of the benchmarks; `python -m benchmarks.run` is the full one."""
    _install(session)
    session.run("python", "-m", "benchmarks.run", "--short", *session.posargs)


@nox.session(venv_backend="virtualenv")
def oldest_runtime(session: nox.Session) -> None:
    """Run exported files with ONNX Runtime 1.20: nox -s oldest_runtime -- model.onnx …."""
    session.install("onnxruntime==1.20.1", "numpy")
    session.run("python", "benchmarks/oldest_runtime.py", *session.posargs)
