# SPDX-License-Identifier: Apache-2.0
"""A Cassandra node from its jars, on free ports of loopback: small, alone in its cluster, for tests."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from forebay.testing.servers._ports import HOST, on_free_ports
from forebay.testing.servers._programs import find
from forebay.testing.servers._server import Server

JARS = "FOREBAY_CASSANDRA_JARS"  # an environment variable: the folder with the jars
JARS_HERE = Path("build/cassandra/jars")  # where tools/cassandra/fetch puts them
ANSWER_SECONDS = 10.0
STARTUP, READY, QUERY, RESULT = 0x01, 0x02, 0x07, 0x08  # opcodes of the native protocol, version 4
ONE = 1  # consistency

MACHINE = [
    "-Xms256m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
]  # fmt: skip
# What Cassandra 5.0 reaches into of Java 17.
EXPORTS = [
    "java.base/java.lang.ref", "java.base/jdk.internal.misc", "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql", "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file", "jdk.unsupported/sun.misc",
]  # fmt: skip
OPENS = [
    "java.base/java.io", "java.base/java.lang", "java.base/java.lang.module", "java.base/java.lang.reflect", "java.base/java.nio",
    "java.base/java.util", "java.base/jdk.internal.loader", "java.base/jdk.internal.math", "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref", "java.base/jdk.internal.reflect", "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac", "jdk.management/com.sun.management.internal",
]  # fmt: skip
# Nobody else is in the cluster: there is nobody to wait for.
ALONE = {
    "cassandra.skip_wait_for_gossip_to_settle": "0", "cassandra.ring_delay_ms": "0", "cassandra.superuser_setup_delay_ms": "0",
    "cassandra-foreground": "yes", "java.net.preferIPv4Stack": "true", "jdk.attach.allowAttachSelf": "true",
}  # fmt: skip
LOGBACK = """<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""


class CassandraServer(Server):
    """A Cassandra node that answers on `port`; its data centre is called datacenter1.  What was written outlives stop()."""

    start_seconds = 180.0
    data_center = "datacenter1"
    port: int

    def __init__(self, command: Sequence[str], folder: Path, port: int, cluster_name: str) -> None:
        self.cluster_name = cluster_name
        super().__init__(command, folder, port=port)

    def _answers(self) -> bool:
        """It listens before it can answer, and another's port may be the one that does: a query shows both."""
        try:
            return self.cluster_name.encode() in query(self.address, "SELECT cluster_name FROM system.local")
        except OSError:
            return False


def query(address: tuple[str, int], statement: str) -> bytes:
    """The body of the answer to one CQL statement, undecoded; OSError if there is none, or it is an error."""
    with socket.create_connection(address, ANSWER_SECONDS) as connection, connection.makefile("rb") as stream:
        version = _string_map({"CQL_VERSION": "3.0.0"})
        _ask(connection, stream, STARTUP, version, READY)
        text = statement.encode()
        return _ask(connection, stream, QUERY, struct.pack(">i", len(text)) + text + struct.pack(">HB", ONE, 0), RESULT)


def _string_map(items: dict[str, str]) -> bytes:
    words = [word.encode() for item in items.items() for word in item]
    return struct.pack(">H", len(items)) + b"".join(struct.pack(">H", len(word)) + word for word in words)


def _ask(connection: socket.socket, stream: BinaryIO, opcode: int, body: bytes, wanted: int) -> bytes:
    connection.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
    *_, answer, size = struct.unpack(">BBhBi", _read(stream, 9))
    body = _read(stream, size)
    if answer != wanted:
        raise OSError(f"Cassandra does not answer as it should: {body[6:].decode(errors='replace')}")
    return body


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ConnectionResetError("Cassandra closed the connection")
    return data


def _find_jars(jars: str | os.PathLike[str] | None) -> Path:
    folder = Path(jars or os.environ.get(JARS) or JARS_HERE).absolute()
    if not any(folder.glob("cassandra-all-*.jar")):
        raise RuntimeError(f"Cassandra's jars are not in {folder}: tools/cassandra/fetch fetches them, {JARS} says where they are")
    return folder


def _find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    return (shutil.which("java", path=f"{home}/bin") if home else None) or find("java")


def _settings(folder: Path, name: str, port: int, storage_port: int) -> dict[str, Any]:
    """What cassandra.yaml is to say."""
    seeds = {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": f"{HOST}:{storage_port}"}]}
    places = {word: str(folder / word) for word in ("commitlog_directory", "hints_directory", "saved_caches_directory", "cdc_raw_directory")}
    return places | {
        "cluster_name": name, "num_tokens": 1, "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner", "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [seeds], "listen_address": HOST, "rpc_address": HOST, "storage_port": storage_port,
        "start_native_transport": True, "native_transport_port": port, "data_file_directories": [str(folder / "data")],
        "commitlog_sync": "batch", "commitlog_segment_size": "4MiB", "commitlog_total_space": "32MiB", "hinted_handoff_enabled": False,
        "disk_failure_policy": "die", "commit_failure_policy": "die", "auto_snapshot": False, "memtable_heap_space": "64MiB",
        "memtable_offheap_space": "64MiB", "key_cache_size": "0MiB", "counter_cache_size": "0MiB", "file_cache_size": "32MiB",
        "concurrent_reads": 8, "concurrent_writes": 8, "concurrent_counter_writes": 8, "networking_cache_size": "16MiB",
    }  # fmt: skip


def _command(java: str, jars: Path, folder: Path) -> list[str]:
    properties = ALONE | {
        "cassandra.config": (folder / "cassandra.yaml").as_uri(), "logback.configurationFile": str(folder / "logback.xml"),
        "cassandra.storagedir": str(folder), "cassandra.logdir": str(folder), "java.io.tmpdir": str(folder / "tmp"),
    }  # fmt: skip
    crashes = f"-XX:ErrorFile={folder / 'crash.log'}"
    opened = [word for name in EXPORTS for word in ("--add-exports", f"{name}=ALL-UNNAMED")]
    opened += [word for name in OPENS for word in ("--add-opens", f"{name}=ALL-UNNAMED")]
    return [java, *MACHINE, crashes, *opened, *(f"-D{name}={value}" for name, value in properties.items()), "-cp", f"{jars}/*"]


def start_cassandra(
    folder: Path, *options: str, jars: str | os.PathLike[str] | None = None, settings: dict[str, Any] | None = None
) -> CassandraServer:
    """A new, empty node in folder/cassandra, on free ports of loopback, with a heap of 512 MiB; it takes about 10 s.

    `options` are the Java machine's, as "-Xmx1g"; `settings` cassandra.yaml's, beside
    what it needs.  The jars are looked for in `jars`, in the folder that the
    environment's FOREBAY_CASSANDRA_JARS names, or in build/cassandra/jars here.  Java
    is JAVA_HOME's, or the one on PATH: 11 or 17.  RuntimeError if one is missing."""
    java, found = _find_java(), _find_jars(jars)
    own = folder.absolute() / "cassandra"
    (own / "tmp").mkdir(mode=0o700, parents=True)
    own.chmod(0o700)
    name = f"forebay-{secrets.token_hex(8)}"
    (own / "logback.xml").write_text(LOGBACK)

    def start(port: int, storage_port: int) -> CassandraServer:
        yaml = json.dumps(_settings(own, name, port, storage_port) | (settings or {}))  # JSON is YAML
        (own / "cassandra.yaml").write_text(yaml)
        command = [*_command(java, found, own), *options, "org.apache.cassandra.service.CassandraDaemon"]
        return CassandraServer(command, own, port, name)

    return on_free_ports(2, start)
