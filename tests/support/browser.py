"""A headless Chromium that a test drives over a pipe, in the words of the DevTools protocol: no package is needed."""

import base64
import json
import os
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ALONE = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-default-apps --disable-extensions --hide-scrollbars
    --autoplay-policy=no-user-gesture-required --remote-debugging-pipe --mute-audio"""


class Browser:
    """`with Browser(folder) as browser: browser.open(url); browser.run("document.title")`"""

    def __init__(self, folder: Path, *, width: int = 1300, height: int = 1000, dark: bool = False) -> None:
        (theirs_in, self.out), (self.into, theirs_out) = os.pipe(), os.pipe()

        def at_three_and_four() -> None:  # where the browser looks for its pipes
            copies = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        self.process = subprocess.Popen(
            [str(CHROMIUM), *ALONE.split(), f"--user-data-dir={folder}", f"--window-size={width},{height}"],
            preexec_fn=at_three_and_four, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.numbers, self.waiting = count(1), b""
        self.events: list[dict[str, Any]] = []
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{part}.enable")
        self.size(width, height)
        if dark:
            self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def size(self, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )

    def ask(self, method: str, **values: Any) -> dict[str, Any]:
        number = next(self.numbers)
        said = {"id": number, "method": method, "params": values}
        if self.session:
            said["sessionId"] = self.session
        os.write(self.out, json.dumps(said).encode() + b"\0")
        while True:
            answer = self.next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def next(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            some = os.read(self.into, 1 << 16)
            if not some:
                raise RuntimeError("the browser has ended")
            self.waiting += some
        first, _, self.waiting = self.waiting.partition(b"\0")
        return json.loads(first)

    def open(self, url: str) -> None:
        before = len(self.events)
        self.ask("Page.navigate", url=url)
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events[before:]):
            self.events.append(self.next())

    def run(self, code: str) -> Any:
        """The value of an expression, also of a promise."""
        found = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 60.0) -> Any:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(code)):
            if time.monotonic() > end:
                raise TimeoutError(code)
            time.sleep(0.05)
        return value

    def press(self, key: str) -> None:
        self.run(
            f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}))"
        )

    def screenshot(self, path: Path, whole: bool = False) -> None:
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def asked(self) -> list[str]:
        """The addresses of everything that was requested."""
        self.run("1")
        return [
            one["params"]["request"]["url"] for one in self.events if one.get("method") == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[str]:
        """What stands in the console: errors of the script, files that are not there, and what the policy had to stop;
        not what the server of a page refuses, which the page says itself."""
        self.run("1")
        said = [one for one in self.events if one.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
        return [
            json.dumps(one["params"]) for one in said if "/api/" not in one["params"].get("entry", {}).get("url", "")
        ]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.out)
        os.close(self.into)
