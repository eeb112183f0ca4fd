"""
The program: the command line, or the process of the search index, which is started by the service itself.

Each imports only what it needs, because the index process has to be small.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["index"]:
        # nats-py imports aiohttp for a carrier over WebSocket, which this process does not use: 10 MB.
        sys.modules["aiohttp"] = None  # type: ignore[assignment]
        from marketd.config import indexing

        return indexing.main()
    from marketd import command_line

    return command_line.main(given)


if __name__ == "__main__":
    sys.exit(main())
