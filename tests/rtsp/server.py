#!/usr/bin/python3
"""An RTSP server of GStreamer on a free port of this machine: /h264 and /mjpeg, moving test pictures of 320 x 240.

Prints the port once it listens. A port may be named, to come back where clients look for it, and a login that it wants.
Runs with Debian's Python, which has the bindings: python3-gi, gir1.2-gst-rtsp-server-1.0.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=10/1,format=I420"
H264 = {
    "x264enc": "x264enc tune=zerolatency key-int-max=10",
    "openh264enc": "openh264enc gop-size=10",
}


def encoder() -> str:
    for name, words in H264.items():
        if Gst.ElementFactory.find(name):
            return words
    sys.exit("no H.264 encoder: install gstreamer1.0-plugins-ugly or gstreamer1.0-plugins-bad")


def factory(pipeline: str) -> GstRtspServer.RTSPMediaFactory:
    made = GstRtspServer.RTSPMediaFactory()
    made.set_launch(f"( {PICTURES} ! {pipeline} )")
    made.set_shared(True)
    return made


def require(server: GstRtspServer.RTSPServer, factories: list, user: str, password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    for made in factories:
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        made.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0")
    parser.add_argument("--login", help="user:password")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    mounts = {
        "/h264": factory(f"{encoder()} ! h264parse ! rtph264pay name=pay0 config-interval=1"),
        "/mjpeg": factory("jpegenc ! rtpjpegpay name=pay0"),
    }
    for path, made in mounts.items():
        server.get_mount_points().add_factory(path, made)
    if args.login:
        require(server, list(mounts.values()), *args.login.split(":", 1))
    if not server.attach(None):
        sys.exit("cannot listen")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
