"""Exit with 0 if the server on this machine is ready for predictions, else with 1.

The port is read from SERVER_HTTP__PORT, like the server does; the default is 8888.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 3


def main() -> int:
    """Send one request, without the proxy that the environment may name."""
    port = int(os.environ.get("SERVER_HTTP__PORT", "8888"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"port {port}: {error}")
        return 1
    finally:
        connection.close()
    print(f"port {port}: {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
