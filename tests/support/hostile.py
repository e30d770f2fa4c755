"""A stranger's folder: modules with the names of Python's own, and settings for Streamlit."""

from __future__ import annotations

from pathlib import Path

MODULES = ("colorsys", "queue", "socket", "json", "typing", "hashlib", "email", "statistics")
"""Modules of Python that improv, Ray, Streamlit or what they need import."""
SETTINGS = """
[server]
address = "0.0.0.0"
enableCORS = false
enableXsrfProtection = false
enableAgentApi = true
corsAllowedOrigins = ["http://stranger.example"]
[client]
allowedOrigins = ["http://stranger.example"]
showErrorDetails = "full"
[theme]
base = "dark"
"""
SECRETS = 'OPENAI_BASE_URL = "http://stranger.example/v1"\n'


def hostile_folder(folder: Path) -> Path:
    """Fill a folder; return the file that every module writes to when it is imported."""
    imported = folder / "imported.txt"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*MODULES, "improv", "ray", "streamlit", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(imported)!r}, 'a').write('{name}\\n')\n")
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_text(SETTINGS)
    (folder / ".streamlit" / "secrets.toml").write_text(SECRETS)
    return imported
