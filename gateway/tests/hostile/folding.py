"""Upstreams that turn headers into variables, as WSGI and CGI do, and answer with what their programs would see.

Usage: folding.py wsgi|cgi, on a port of its own, which is printed."""

import http.server
import json
import subprocess
import sys
import wsgiref.simple_server


class Wsgi(wsgiref.simple_server.WSGIRequestHandler):
    """The handler of Python's own WSGI server: a dash becomes an underscore, values of one name are joined."""

    def log_message(self, *arguments):
        pass


def application(environ, start_response):
    body = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Cgi(http.server.BaseHTTPRequestHandler):
    """RFC 3875 section 4.1.18, as web servers do it that fold whatever is neither letter nor digit. The program is env."""

    def do_GET(self):
        variables = {"REQUEST_METHOD": self.command, "PATH": "/usr/bin:/bin"}
        for name, value in self.headers.items():
            folded = "HTTP_" + "".join(c if c.isalnum() else "_" for c in name).upper()
            variables[folded] = f"{variables[folded]}, {value}" if folded in variables else value
        printed = subprocess.run(["env", "-0"], env=variables, stdout=subprocess.PIPE, check=True).stdout
        pairs = (line.split("=", 1) for line in printed.decode("latin-1").split("\0") if line)
        body = json.dumps(dict(pairs)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def main():
    # What is folded is checked, and not how many headers Python takes.
    http.client._MAXHEADERS = 1000
    if sys.argv[1] == "wsgi":
        server = wsgiref.simple_server.make_server("127.0.0.1", 0, application, handler_class=Wsgi)
    else:
        server = http.server.HTTPServer(("127.0.0.1", 0), Cgi)
    print(server.server_port, flush=True)
    server.serve_forever()


main()
