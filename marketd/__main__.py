"""
The program: the command line, or one of the processes that the service itself starts: the search index, and the
shrinker of images.

Each imports only what it needs, because these processes have to be small and quick to start.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names; give the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["index"]:
        # nats-py imports aiohttp for a carrier over WebSocket, which this process does not use: 10 MB.
        sys.modules["aiohttp"] = None  # type: ignore[assignment]
        from marketd.config import indexing

        return indexing.main()
    if given[:1] == ["shrink"]:
        from marketd.storage import shrinking

        return shrinking.main(given[1:])
    from marketd import command_line, unpacked

    unpacked.move_in()
    return command_line.main(given)


if __name__ == "__main__":
    sys.exit(main())
