"""Services over HTTP: chat-completions endpoints. API keys come from the environment and are never stored."""
