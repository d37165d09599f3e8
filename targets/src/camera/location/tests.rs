//! Locations that are read, and those that are refused.

use super::*;

#[test]
fn what_is_written_is_read_and_shown() {
    for text in [
        "v4l2:/dev/video0",
        "v4l2:/dev/video0?size=1280x720&fps=5&fmt=mjpeg",
        "rpicam:1?size=640x480&fps=2.5&codec=yuv420",
        "rtsp://host:8554/a?b=c",
        "rtsps://host/a",
        "http://host/live/a.m3u8?token=x",
        "mjpeg+http://host/video",
        "mjpeg+https://host/video",
        "snapshot+http://host/x.jpg?every=5000ms",
        "snapshot+http://host/x.jpg?a=b&every=500ms",
        "file:/x.mp4",
        "dir:/in",
        "dir:/in?watch=1&then=move:/out",
        "dir:/in?then=delete",
        "pictures:/in?fps=2",
        "stdin:y4m",
        "stdin:mjpeg",
        "stdin:rgb24@640x480",
        "push:",
        "synthetic:?size=320x240&seed=3",
    ] {
        assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
    }
    for (text, shown) in [
        ("/dev/video2?fps=5", "v4l2:/dev/video2?fps=5"),
        ("a/b.mp4", "file:a/b.mp4"),
        ("rpicam:", "rpicam:0"),
        ("snapshot+http://u:p@host/x?every=2m&q=1", "snapshot+http://u:***@host/x?q=1&every=120000ms"),
        ("rtsp://user:secret@host/x", "rtsp://user:***@host/x"),
    ] {
        let location: Location = text.parse().unwrap();
        assert_eq!(location.to_string(), shown);
        assert!(!format!("{location:?}").contains("secret"));
    }
}

#[test]
fn slips_are_named() {
    for (text, complaint) in [
        ("", "no camera is named"),
        ("webcam", "sources are v4l2:"),
        ("exec:ls", "exec: is no kind of source"),
        ("ftp://user:secret@host/x", "addresses begin with rtsp://"),
        ("http://host/x.jpg", "snapshot+http://"),
        ("v4l2:", "names no path"),
        ("v4l2:/dev/video0?fmt=h264", "formats are rgb"),
        ("v4l2:/dev/video0?size=0x4", "640x480"),
        ("v4l2:/dev/video0?size=99999999x4", "640x480"),
        ("v4l2:/dev/video0?fps=nan", "frames a second"),
        ("v4l2:/dev/video0?fps=-1", "frames a second"),
        ("v4l2:/dev/video0?fps=1&fps=2", "twice"),
        ("v4l2:/dev/video0?speed=1", "speed= means nothing here"),
        ("rpicam:x", "no number"),
        ("rpicam:0?codec=h264", "codecs are"),
        ("dir:/in?watch=yes", "watch=1"),
        ("dir:/in?then=move:", "then=move:/folder"),
        ("snapshot+http://host/?every=1y", "5s"),
        ("snapshot+http://host/?every=1e300h", "5s"),
        ("stdin:h264", "stdin:y4m"),
        ("push:x", "nothing follows"),
        ("synthetic:?seed=x", "whole number"),
    ] {
        let error = text.parse::<Location>().unwrap_err().to_string();
        assert!(error.contains(complaint) && !error.contains("secret"), "{text}: {error}");
    }
}
