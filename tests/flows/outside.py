"""What a process and its descendants ask of the world outside this machine, seen from two sides."""

import contextlib
import ipaddress
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

_EVERY_S = 0.2


@dataclass
class Observed:
    """Requests that went to the proxy, and connections to other machines."""

    proxy_url: str
    requests: list[str] = field(default_factory=list)
    connections: set[str] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)
    """Roots of the process trees that are watched."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send every request for another machine to the proxy, which refuses it."""
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        loopback = "127.0.0.1,localhost"
        return {**dict.fromkeys(names, self.proxy_url), "NO_PROXY": loopback, "no_proxy": loopback}


@contextlib.contextmanager
def observed_from_outside() -> Iterator[Observed]:
    """Listen as a proxy on loopback, and look at the sockets of `processes` five times a second."""
    requests: list[str] = []

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            requests.append(self.rfile.readline().decode("latin-1").strip())
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as proxy:
        seen = Observed(proxy_url=f"http://127.0.0.1:{proxy.server_address[1]}", requests=requests)
        done = threading.Event()
        threads = [threading.Thread(target=proxy.serve_forever), threading.Thread(target=_look, args=(seen, done))]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            done.set()
            proxy.shutdown()
            for thread in threads:
                thread.join()


def _look(seen: Observed, done: threading.Event) -> None:
    while not done.wait(_EVERY_S):
        for pid in tuple(seen.processes):
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(pid)
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        remote = {connection.raddr[0] for connection in process.net_connections("inet") if connection.raddr}
                        seen.connections |= {place for place in remote if not ipaddress.ip_address(place).is_loopback}
