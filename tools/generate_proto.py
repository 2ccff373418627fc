"""Generate the Python modules of `voicemedia/proto/*.proto`: `python -m tools.generate_proto`.

They are committed, so that nobody who uses them needs the compiler. The compiler is an old one on purpose:
generated code runs with newer runtimes, never with older ones (it wants grpcio 1.76 and protobuf 6.31.1).
"""

import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROTO = Path("voicemedia", "proto")


def generate(target: Path) -> list[Path]:
    """Write `_pb2.py`, `_pb2.pyi` and `_pb2_grpc.py` of each proto under `target`; return their paths there."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PROTO).glob("*.proto"))
    outs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    # The full path in the source's name makes the imports in the generated code absolute.
    arguments = ["protoc", f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}", *outs, *sources]
    if protoc.main(arguments):
        raise SystemExit("protoc failed")
    return sorted(path.relative_to(target) for path in (target / PROTO).glob("*_pb2*.py*"))


if __name__ == "__main__":
    sys.stdout.write("".join(f"{path}\n" for path in generate(ROOT)))
