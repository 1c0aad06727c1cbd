"""When something is first said of an object."""
import json
import subprocess
import threading
import time


class Told:
    """When an object first had a condition, by a watch that is there before the object is."""

    def __init__(self, namespace, kind, type_):
        self.at, self.event = None, threading.Event()
        self.process = subprocess.Popen(["kubectl", "get", kind, "-n", namespace, "--watch", "-o", "json", "--output-watch-events"], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, args=(type_,), daemon=True).start()

    def read(self, type_):
        decoder, text = json.JSONDecoder(), ""
        for line in self.process.stdout:
            text += line
            try:
                event, end = decoder.raw_decode(text.lstrip())
            except ValueError:
                continue
            text = text.lstrip()[end:]
            conditions = event["object"].get("status", {}).get("conditions", [])
            if any(c["type"] == type_ and c["status"] == "True" for c in conditions):
                self.at = time.monotonic()
                self.event.set()
                return

    def wait(self, timeout):
        arrived = self.event.wait(timeout)
        self.process.terminate()
        assert arrived, "the condition did not come"
        return self.at
