"""Ask a service at a URL for readiness, and for a prediction of its own example."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request

URL = sys.argv[1]
KEY = os.environ.get("API_KEY", "")
CONTEXT = ssl._create_unverified_context()  # noqa: S323  # its name need not be this address
TIMEOUT_S = 60


def ask(path, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(URL + path, body, headers)  # noqa: S310  # URL is ours
    try:
        with urllib.request.urlopen(request, None, TIMEOUT_S, context=CONTEXT) as answer:  # noqa: S310  # likewise
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


status, text = ask("/v2/health/ready")
print(f"GET /v2/health/ready: {status}")
if status != 200:
    sys.exit(text)
document = json.loads(ask("/openapi.json")[1])
example = document["components"]["examples"].get("native-one-example-request")
if example is None:
    sys.exit(0)  # it is too long, or the model has none
status, text = ask("/predict", json.dumps(example["value"]).encode())
print(f"POST /predict: {status} {text}")
closed = not KEY and status == 401
sys.exit(0 if status == 200 or closed else 1)
