"""A door for the node to what listens on loopback alone: `python relay.py ADDRESS CALLER PORT...` hands on what comes from CALLER to a port
of ADDRESS to the same port of 127.0.0.1, and hears nobody else. A program of its own."""
import asyncio
import contextlib
import sys

_PIECE = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end of what one side says; the other side may still be speaking."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def _serve(address: str, caller: str, port: int):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A connection that is refused or reset is the caller's to tell.
        with contextlib.suppress(OSError), contextlib.closing(writer):
            if writer.get_extra_info("peername")[0] != caller:
                return
            there, on = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(on):
                await asyncio.gather(_pump(reader, on), _pump(there, writer))

    return await asyncio.start_server(serve, address, port)


async def main(address: str, caller: str, *ports: str) -> None:
    servers = [await _serve(address, caller, int(port)) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
