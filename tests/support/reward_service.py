"""A user's own reward service, which answers as it is told."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RIGHT = {"rewards": [1.0], "scores": [0.5], "extra_logs": {"grade/equal": [1]}}


class Service(ThreadingHTTPServer):
    """script: one answer a request, the last for all later ones: a dict, (status, body), or "hang" or "drop"."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, *script, port: int = 0) -> None:
        self.script, self.seen, self.stop_hanging = list(script), [], threading.Event()
        super().__init__(("127.0.0.1", port), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}/get_reward"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    def __exit__(self, *_) -> None:
        self.stop_hanging.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_error(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(json.loads(body))
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer == "hang":
            self.server.stop_hanging.wait(20)
            answer = "drop"
        if answer == "drop":
            self.close_connection = True
            return
        status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
