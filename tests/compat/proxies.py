"""The proxies that are tried, each as a plain process with a configuration of its own before two Mares.

`{listen}` is the port that it serves, `{first}` and `{second}` are where the Mares are. Where a
configuration leaves something out, the proxy's default holds.
"""
import asyncio
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clients import npm
from system import Process, answers, free_port, until

HERE = Path(__file__).resolve().parent

NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  %s
}}
"""

HAPROXY = """
global
  log stderr format raw local0 warning
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend in
  bind 127.0.0.1:{listen}
  default_backend mare
backend mare
  %s
"""

APACHE = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
Listen 127.0.0.1:{listen}
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so
LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so
%s
"""

VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{first}"; }}
"""

CADDY = """
{{
  admin off
  auto_https off
  storage file_system {directory}/caddy
}}
http://127.0.0.1:{listen} {{
  %s
}}
"""


@dataclass(frozen=True)
class Proxy:
    name: str
    # The Debian or npm package whose version stands in the table.
    package: str
    command: list
    # Written to `{config}`.
    config: str = ""
    # What the table says of its configuration.
    note: str = ""

    def version(self) -> str:
        if self.package.startswith("npm:"):
            return ", ".join(f"{name} {npm(name)}" for name in self.package[4:].split("+"))
        show = ["dpkg-query", "--show", "--showformat=${Version}", self.package]
        version = subprocess.run(show, capture_output=True, text=True, check=True).stdout
        return re.sub(r"^\d+:", "", version).split("-")[0]


def nginx(name: str, note: str, server: str, http: str = "") -> Proxy:
    body = f"{http}\n  server {{{{ listen 127.0.0.1:{{listen}}; location / {{{{ {server} }}}} }}}}"
    return Proxy(name, "nginx-light", ["nginx", "-p", "{directory}", "-c", "{config}"], NGINX % body, note)


def haproxy(name: str, note: str, backend: str) -> Proxy:
    return Proxy(name, "haproxy", ["haproxy", "-db", "-f", "{config}"], HAPROXY % backend, note)


def apache(name: str, note: str, rest: str) -> Proxy:
    return Proxy(name, "apache2", ["apache2", "-X", "-f", "{config}"], APACHE % rest, note)


def caddy(name: str, note: str, site: str) -> Proxy:
    return Proxy(name, "caddy", ["caddy", "run", "--adapter", "caddyfile", "--config", "{config}"], CADDY % site, note)


PLAIN = "proxy_pass http://127.0.0.1:{first};"
KEEP = "upstream mare {{ server 127.0.0.1:{first}; keepalive 8; }}"
# Else it would ask for the host `mare`, which Mare refuses: see ALLOWED_HOSTS.
HOST = "proxy_set_header Host $host;"
TWO = "upstream mare {{ server 127.0.0.1:{first}; server 127.0.0.1:{second} backup; }}"
VARNISH_COMMAND = ["varnishd", "-F", "-n", "{directory}/varnish", "-a", "127.0.0.1:{listen}", "-f", "{config}", "-s", "malloc,16M"]

EVERY_PROXY = [
    nginx("nginx", "`proxy_pass` alone: HTTP/1.0 to Mare", PLAIN),
    nginx("nginx, HTTP/1.1", "`proxy_http_version 1.1`, connections kept", f'proxy_http_version 1.1; proxy_set_header Connection ""; {HOST} proxy_pass http://mare;', KEEP),
    nginx("nginx, gzip", "`gzip on`, `gzip_types text/event-stream`, `gzip_proxied any`", PLAIN, "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;"),
    nginx("nginx, two Mares", "`upstream` with a second Mare as `backup`", f"{HOST} proxy_pass http://mare;", TWO),
    haproxy("haproxy", "`mode http`, `timeout client` and `server` 50 s", "server one 127.0.0.1:{first}"),
    haproxy("haproxy, gzip", "`compression algo gzip`, `compression type text/event-stream`", "compression algo gzip\n  compression type text/event-stream\n  server one 127.0.0.1:{first}"),
    haproxy("haproxy, two Mares", "a second Mare as `backup`, health checks, `option redispatch`", "option redispatch\n  option httpchk GET /readyz\n  server one 127.0.0.1:{first} check inter 500 fall 1 rise 1\n  server two 127.0.0.1:{second} check inter 500 backup"),
    apache("Apache", "`ProxyPass` alone", "ProxyPass / http://127.0.0.1:{first}/"),
    apache("Apache, deflate", "`AddOutputFilterByType DEFLATE text/event-stream`", "ProxyPass / http://127.0.0.1:{first}/\nAddOutputFilterByType DEFLATE text/event-stream"),
    Proxy("Varnish", "varnish", VARNISH_COMMAND, VARNISH, "the built-in VCL"),
    caddy("Caddy", "`reverse_proxy` alone", "reverse_proxy 127.0.0.1:{first}"),
    caddy("Caddy, encode", "`encode gzip` before `reverse_proxy`", "encode gzip\n  reverse_proxy 127.0.0.1:{first}"),
    caddy("Caddy, two Mares", "a second Mare, `lb_policy first`, `lb_try_duration 5s`", "reverse_proxy 127.0.0.1:{first} 127.0.0.1:{second} {{\n    lb_policy first\n    lb_try_duration 5s\n  }}"),
    Proxy("express, compression", "npm:express+compression+http-proxy-middleware", ["node", str(HERE / "clients/express.mjs"), "{listen}", "{first}"], note="`compression()` before `createProxyMiddleware`"),
]


class Running:
    """A proxy that runs."""

    def __init__(self, proxy: Proxy, directory: Path):
        self.proxy, self.directory, self.port = proxy, directory, free_port()

    async def start(self, first: int, second: int) -> None:
        self.directory.mkdir(parents=True)
        places = {"listen": self.port, "first": first, "second": second, "directory": self.directory}
        config = self.directory / "config"
        config.write_text(self.proxy.config.format(**places))
        command = [part.format(**places, config=config) for part in self.proxy.command]
        if not shutil.which(command[0]):
            raise RuntimeError(f"{command[0]} is missing: `scripts/set-up compat` installs it")
        # Some of them want to be another user when they are started as root.
        for path in (self.directory.parent.parent, self.directory.parent, self.directory):
            path.chmod(0o755)
        self.process = Process(self.proxy.name, command, self.directory / "log", cwd=self.directory)
        await until(f"{self.proxy.name} listens", self._is_up)

    def _is_up(self) -> bool:
        self.process.check()
        return answers(self.port)

    async def stop(self) -> None:
        await self.process.stop(5)
