"""any_logs.py: logs and tables that no machine wrote, for models/any-texts. Debian packages hold hardly any logs, so the
model learns from these how logs go: stamps that advance, lines that follow templates, fields that repeat. Every
document draws a format, its templates and its hosts, users and paths. The same seed gives the same text on every
version of Python: of its random numbers only random() is used."""

import random
import time

WORDS = """accept access account agent alarm append archive auth backend backup batch block bridge broker bucket buffer
bundle cache call cert channel check chunk client cluster commit config connect consumer container context cookie copy
cron cursor daemon data database deploy device digest disk dispatch dns domain driver dump edge email engine entry event
export feed fetch field file filter firewall flush frame gateway group guest handler handshake hash health heap host
image import index ingest input install instance interface invoice item job journal kernel key lease ledger library
limit link list listener load lock login lookup mail master memory merge message meta metric migration mirror module
monitor mount network node notify object offset order output packet page parser partition password patch path peer
permission pipe plugin pod policy pool port prefix probe process producer profile protocol proxy purge query queue quota
rate reader record region registry relay release remote render replica report request resolver resource response restart
retry route router rule sample scan scheduler schema script search secret sector segment sensor server service session
shard signal size slot snapshot socket source stage state status storage stream subnet sync table target task template
tenant thread timer token topic trace transfer tunnel update upload user value vault version view volume watch web
window worker write zone""".split()
VERBS = """accepted added allocated applied backed blocked cached changed checked closed committed completed configured
connected created deleted denied detected disabled discarded dropped enabled established evicted expired failed fetched
finished flushed found ignored initialized installed joined killed loaded locked lost mounted opened processed published
queued reached read received recovered refused registered rejected released reloaded removed renewed replaced resolved
restarted resumed retried returned rotated saved scheduled sent started stopped stored switched synced terminated
updated uploaded validated verified waiting written""".split()
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "curl/7.88.1", "Wget/1.21.3", "python-requests/2.28.1", "Go-http-client/1.1", "-",
]
LEVELS = [
    ["DEBUG", "INFO", "WARN", "ERROR"], ["debug", "info", "warning", "error"], ["D", "I", "W", "E"],
    ["[DEBUG]", "[INFO]", "[WARNING]", "[ERROR]"], ["DBG", "INF", "WRN", "ERR"], ["<7>", "<6>", "<4>", "<3>"],
]
STAMPS = [
    "%b %e %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.mmmZ", "%Y-%m-%d %H:%M:%S,mmm", "[%d/%b/%Y:%H:%M:%S +0000]",
    "%Y/%m/%d %H:%M:%S", "[%Y-%m-%d %H:%M:%S]", "%m/%d/%y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%H:%M:%S.mmm",
    "%Y-%m-%dT%H:%M:%S+00:00", "%d.%m.%Y %H:%M:%S",
]


class Draw:
    def __init__(self, seed):
        self.source = random.Random(seed)

    def real(self):
        return self.source.random()

    def below(self, n):
        return int(self.source.random() * n)

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def of(self, items):
        return items[self.below(len(items))]

    def often(self, items):
        """The first items more often than the last ones."""
        return items[int(len(items) * self.source.random() ** 2.5)]

    def some(self, n, make):
        return [make() for _ in range(n)]

    def hex(self, digits):
        return "".join("0123456789abcdef"[self.below(16)] for _ in range(digits))

    def size(self):
        return int(10 ** (self.source.random() * 6))


def address(draw):
    return draw.of(["10.0.%d.%d", "192.168.%d.%d", "172.16.%d.%d", "203.0.%d.%d", "83.%d.12.%d"]) % (
        draw.below(256), draw.below(256))


def name(draw):
    words = draw.some(draw.between(1, 2), lambda: draw.of(WORDS))
    return draw.of(["-", "_", ".", ""]).join(words)


def path(draw):
    stems = draw.some(draw.between(1, 4), lambda: name(draw))
    return draw.of(["/", "/var/lib/", "/srv/", "/api/v1/", "/usr/", "/home/", "/static/"]) + "/".join(stems) + draw.of(
        ["", "", ".html", ".js", ".png", ".db", ".log", ".conf", ".json"])


class World:
    """What one document's lines are about: they draw from it again and again."""

    def __init__(self, draw):
        self.draw = draw
        self.hosts = draw.some(draw.between(1, 6), lambda: name(draw) + draw.of(["", "01", "-2", ".example.org", ".local"]))
        self.addresses = draw.some(draw.between(3, 60), lambda: address(draw))
        self.users = draw.some(draw.between(2, 20), lambda: draw.of(["root", "admin", "www-data", "backup"]) if draw.below(3) == 0
                               else name(draw) + str(draw.below(100)))
        self.paths = draw.some(draw.between(4, 60), lambda: path(draw))
        self.names = draw.some(draw.between(3, 20), lambda: name(draw))
        self.agents = draw.some(draw.between(1, 8), lambda: draw.of(AGENTS))
        self.step = 10 ** (draw.real() * 4 - 2)
        self.now = 1.2e9 + draw.real() * 5.5e8
        self.count = draw.below(100000)
        self.pids = draw.some(draw.between(1, 8), lambda: draw.between(100, 60000))
        self.templates = draw.some(draw.between(3, 24), self.template)

    def template(self):
        """A line as words and names of fields."""
        draw = self.draw
        parts = []
        for _ in range(draw.between(2, 9)):
            kind = draw.below(7)
            if kind < 3:
                parts.append(draw.of(WORDS))
            elif kind < 4:
                parts.append(draw.of(VERBS))
            elif kind < 5:
                parts.append(draw.of(["for", "from", "to", "in", "by", "of", "with", "on", "after", "is", "not", "no"]))
            else:
                field = "{" + draw.of(["ip", "user", "path", "name", "n", "size", "ms", "hex", "port", "host", "count", "percent",
                                       "id", "status", "real"]) + "}"
                parts.append(draw.of(["%s", "%s", draw.of(WORDS) + "=%s", draw.of(WORDS) + ": %s", "(%s)", "'%s'", "[%s]",
                                      '"%s"', "%s,"]) % field)
        line = draw.of(["%s", "%s", "%s.", name(draw) + ": %s", "[" + name(draw) + "] %s"]) % " ".join(parts)
        return line[0].upper() + line[1:] if draw.below(2) else line

    def field(self, which):
        draw = self.draw
        if which == "ip":
            return draw.often(self.addresses)
        if which == "user":
            return draw.often(self.users)
        if which == "path":
            return draw.often(self.paths)
        if which == "name":
            return draw.often(self.names)
        if which == "host":
            return draw.often(self.hosts)
        if which == "count":
            self.count += draw.between(1, 3)
            return str(self.count)
        return {"n": lambda: str(draw.below(100)), "size": lambda: str(draw.size()), "ms": lambda: "%dms" % draw.size(),
                "hex": lambda: "0x" + draw.hex(8), "port": lambda: str(draw.between(1024, 65535)),
                "percent": lambda: "%d%%" % draw.below(101), "id": lambda: draw.hex(12),
                "status": lambda: draw.often(["200", "304", "404", "301", "500", "403", "502"]),
                "real": lambda: "%.3f" % (draw.real() * 100)}[which]()

    def message(self):
        line = self.draw.often(self.templates)
        while "{" in line:
            before, _, rest = line.partition("{")
            which, _, after = rest.partition("}")
            line = before + self.field(which) + after
        return line

    def stamp(self, form):
        self.now += self.step * self.draw.real() ** 3 * 4
        return time.strftime(form, time.gmtime(self.now)).replace("mmm", "%03d" % int(self.now % 1 * 1000))


def plain(draw, world):
    form, levels = draw.of(STAMPS), draw.of(LEVELS)
    separator = draw.of([" ", " ", " - ", "\t", " | "])
    with_level, with_host, with_pid, with_module = draw.below(4) > 0, draw.below(3) == 0, draw.below(2), draw.below(2)
    while True:
        parts = [world.stamp(form)]
        if with_host:
            parts.append(draw.often(world.hosts))
        if with_level:
            parts.append(levels[[1, 1, 1, 1, 1, 1, 0, 0, 2, 3][draw.below(10)]])
        if with_module:
            parts.append(draw.often(world.names) + ("[%d]:" % draw.often(world.pids) if with_pid else ":"))
        yield separator.join(parts + [world.message()])


def syslog(draw, world):
    while True:
        yield "%s %s %s[%d]: %s" % (world.stamp("%b %e %H:%M:%S"), world.hosts[0], draw.often(world.names),
                                    draw.often(world.pids), world.message())


def kernel(draw, world):
    while True:
        world.stamp("")
        yield "[%12.6f] %s: %s" % (world.now % 1e5, draw.often(world.names), world.message())


def access(draw, world):
    combined, with_user = draw.below(4) > 0, draw.below(3) == 0
    sizes = {p: draw.size() for p in world.paths}
    while True:
        where = draw.often(world.paths)
        status = draw.often(["200", "200", "200", "304", "404", "301", "500", "403"])
        line = '%s - %s %s "%s %s HTTP/1.1" %s %d' % (
            draw.often(world.addresses), draw.often(world.users) if with_user else "-", world.stamp("[%d/%b/%Y:%H:%M:%S +0000]"),
            draw.often(["GET", "GET", "POST", "HEAD", "PUT"]), where, status,
            sizes[where] if draw.below(4) else draw.size())
        if combined:
            referrer = "https://%s%s" % (world.hosts[0], draw.often(world.paths)) if draw.below(2) else "-"
            line += ' "%s" "%s"' % (referrer, draw.often(world.agents))
        yield line


def sshd(draw, world):
    while True:
        port = draw.between(1024, 65535)
        yield "%s %s sshd[%d]: %s" % (world.stamp("%b %e %H:%M:%S"), world.hosts[0], draw.between(500, 60000), draw.often([
            "Accepted publickey for %s from %s port %d ssh2: RSA SHA256:%s" % (world.field("user"), world.field("ip"), port, draw.hex(40)),
            "Failed password for %s from %s port %d ssh2" % (world.field("user"), world.field("ip"), port),
            "pam_unix(sshd:session): session opened for user %s(uid=%d) by (uid=0)" % (world.field("user"), draw.between(0, 2000)),
            "pam_unix(sshd:session): session closed for user %s" % world.field("user"),
            "Invalid user %s from %s port %d" % (world.field("user"), world.field("ip"), port),
            "Connection closed by %s port %d [preauth]" % (world.field("ip"), port),
            "Received disconnect from %s port %d:11: disconnected by user" % (world.field("ip"), port),
        ]))


def dpkg(draw, world):
    form = "%Y-%m-%d %H:%M:%S"
    while True:
        package = "%s%s:%s" % (draw.of(["lib", "python3-", "", "", "node-"]), name(draw).replace("_", "-"), draw.often(["amd64", "all"]))
        version = "%d.%d.%d-%d%s" % (draw.below(9), draw.below(30), draw.below(10), draw.between(1, 5), draw.of(["", "", "+b1", "+deb12u1"]))
        stages = draw.of([["install <none> V", "status half-installed V", "status unpacked V"],
                          ["upgrade V V2", "status half-configured V", "status unpacked V", "status half-installed V", "status unpacked V2"],
                          ["configure V <none>", "status unpacked V", "status half-configured V", "status installed V"],
                          ["trigproc V <none>", "status half-configured V", "status installed V"]])
        for stage in stages:
            verb, _, rest = stage.partition(" ")
            if verb == "status":
                state, _, rest = rest.partition(" ")
                verb += " " + state
            yield "%s %s %s %s" % (world.stamp(form), verb, package, rest.replace("V2", version + "~1").replace("V", version))


def structured(draw, world):
    """Lines of JSON, or of key=value."""
    json = draw.below(2)
    keys = draw.some(draw.between(2, 7), lambda: (draw.of(WORDS), draw.of(["ip", "user", "path", "name", "n", "size", "id", "real", "host"])))
    form = draw.of(["%Y-%m-%dT%H:%M:%S.mmmZ", "%Y-%m-%dT%H:%M:%SZ"])
    stamp_key, level_key, message_key = draw.of(["time", "ts", "@timestamp"]), draw.of(["level", "severity"]), draw.of(["msg", "message"])
    while True:
        pairs = [(stamp_key, world.stamp(form)), (level_key, draw.often(["info", "info", "debug", "warn", "error"])),
                 (message_key, world.message().replace('"', "'"))]
        for key, which in keys:
            if draw.below(6):
                pairs.append((key, world.field(which)))
        if json:
            yield "{" + ",".join('"%s":%s' % (k, v if v.replace(".", "", 1).isdigit() and v[0] != "0" and v.count(".") < 2 else '"%s"' % v)
                                 for k, v in pairs) + "}"
        else:
            yield " ".join("%s=%s" % (k, '"%s"' % v if " " in v else v) for k, v in pairs)


def table(draw, world):
    """Lines of comma-separated values: measured series, or records."""
    separator = draw.often([",", ",", ";", "\t"])
    columns = draw.some(draw.between(3, 12), lambda: draw.below(6))
    titles = [name(draw) for _ in columns]
    form = draw.of(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y", "%Y%m%d"])
    levels = [draw.real() * 10 ** draw.below(4) for _ in columns]
    digits = [draw.between(0, 4) for _ in columns]
    yield separator.join(titles)
    row = draw.below(1000)
    while True:
        row += 1
        values = []
        stamp = world.stamp(form)
        for i, kind in enumerate(columns):
            levels[i] += (draw.real() - 0.5) * (abs(levels[i]) * 0.05 + 0.01)
            values.append([lambda: str(row), lambda: stamp, lambda: "%.*f" % (digits[i], levels[i]), lambda: draw.often(world.names),
                           lambda: str(draw.size()), lambda: draw.often(world.users)][kind]())
        yield separator.join(values)


MAKERS = [plain, plain, plain, plain, syslog, syslog, kernel, access, access, sshd, dpkg, structured, structured, table, table, table]


def documents(seed, total):
    """Texts of 2 to 8 KB each, `total` bytes in all."""
    made = 0
    number = 0
    while made < total:
        draw = Draw("%s %d" % (seed, number))
        lines = MAKERS[number % len(MAKERS)](draw, World(draw))
        wanted = int(2000 * 4 ** draw.real())
        text = ""
        while len(text) < wanted:
            text += next(lines) + "\n"
        yield text.encode()
        made += len(text)
        number += 1
