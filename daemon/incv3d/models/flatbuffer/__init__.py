"""Make LiteRT flatbuffers from frozen graphs, without TensorFlow."""
