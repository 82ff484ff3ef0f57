"""Texts of a stranger who wants a page of ours to run his script, and files as he writes them: any content, and no
checksum that would not fit it."""

import json
from pathlib import Path
from typing import Any

RUN = "document.documentElement.setAttribute('data-owned','1');new Image().src='http://evil.invalid/a'"
PAYLOADS = [
    f'"><script>{RUN}</script>',
    f"'\"><img src=x onerror=\"{RUN}\">",
    f"</style></title></textarea><script>{RUN}</script>",
    f'--></g></svg>]]><svg onload="{RUN}">',
    "{{ 7 * 7 }}{% raw %}",
    "[a](javascript:alert(1)) ![b](http://evil.invalid/b.png) <javascript:alert(1)>",
    "\\1 \\g<0> $x^{ \\frac{ _{",
    'url(http://evil.invalid/c) ; background: url("//evil.invalid/d")',
    "\x1b]0;owned\x07\x1b[2J \x00 \r \u202eexe \u2028",
    "&lt;script&gt; &#60;b&#62; %s {0} #010101",
    "| `code` ``` | **bold** \n# heading\n\n<b>",
    "动画 \N{SNOWMAN}" + "n" * 300,
]  # fmt: skip


def content_of(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    return content


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(content_of(path) | changes))
