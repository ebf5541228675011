"""Keep the seconds before and after an event as a video, without encoding anything again."""
