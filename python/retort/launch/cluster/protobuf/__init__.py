"""Objects in protocol buffers."""
