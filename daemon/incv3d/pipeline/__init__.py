"""Frame queue, worker threads, classifier, model loading."""
