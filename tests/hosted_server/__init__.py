"""An OpenAI-compatible server on loopback that samples and fine-tunes a tiny model, and fails on demand."""
