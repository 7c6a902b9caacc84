"""Kafka's programs, fetched once from Maven Central: Kafka is in no Linux distribution."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.private_services.errors import ServiceError

VERSION = "3.9.1"
LIMIT_S = 600
# With Maven's help the broker's dependencies come too, but for a logging back end, which Kafka 3 cannot start without.
_PROJECT = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sagad</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def library_directory() -> Path:
    """Where the jar files are kept for this user; it exists only when it is complete."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "sagad" / f"kafka-{VERSION}"


def java_version() -> int:
    """Major version of the `java` on PATH; 0 when there is none."""
    if shutil.which("java") is None:
        return 0
    text = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    number = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(number.group(1)) if number else 0


def download() -> None:
    """Fetch the jar files (46 MB) unless they are there.

    Raises:
        ServiceError: Maven or Maven Central did not deliver; nothing is left behind.

    """
    target = library_directory()
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=target.parent) as scratch:
        project, libraries = Path(scratch, "pom.xml"), Path(scratch, "libs")
        project.write_text(_PROJECT)
        maven = ["mvn", "--batch-mode", "--quiet", f"--file={project}", _COPY]
        maven += ["-DincludeScope=runtime", f"-DoutputDirectory={libraries}"]
        try:
            result = subprocess.run(maven, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"Maven did not finish within {LIMIT_S} s") from error
        if result.returncode != 0 or not any(libraries.glob("kafka_*.jar")):
            raise ServiceError(f"Maven could not fetch Kafka {VERSION}:\n{(result.stdout + result.stderr)[-1500:]}")
        libraries.rename(target)
