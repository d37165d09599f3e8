// Shows one picture to the kernel's virtual camera `vivid`, whose input is looped back from its output.
//
//   inject CAPTURE OUTPUT FOURCC COLORSPACE FILE
//   inject DEVICE CONTROL VALUE
//
// The second form sets a control by its name and ends; vivid has some that make it fail. The first sets the loop on CAPTURE, queues the bytes of FILE on OUTPUT in four buffers (with fewer than two the camera shows
// noise), starts it, and leaves a process behind that holds it; prints the process's number. Written against the kernel's own headers, so that
// the structures of targets/src/ioctl.rs meet a second reading of them.
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void ask(int device, unsigned long request, void *value, const char *what) {
    if (ioctl(device, request, value) < 0) fail(what);
}

static void set(int device, const char *name, int value) {
    struct v4l2_queryctrl control = {.id = V4L2_CTRL_FLAG_NEXT_CTRL};
    while (ioctl(device, VIDIOC_QUERYCTRL, &control) == 0) {
        if (strcmp((const char *)control.name, name) == 0) {
            struct v4l2_control to = {.id = control.id, .value = value};
            ask(device, VIDIOC_S_CTRL, &to, name);
            return;
        }
        control.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
    }
    fail(name);
}

int main(int n, char **words) {
    if (n == 4) {
        int device = open(words[1], O_RDWR);
        if (device < 0) fail(words[1]);
        set(device, words[2], atoi(words[3]));
        return 0;
    }
    if (n != 6 || strlen(words[3]) != 4) {
        fprintf(stderr, "usage: inject CAPTURE OUTPUT FOURCC COLORSPACE FILE, or inject DEVICE CONTROL VALUE\n");
        return 2;
    }
    int camera = open(words[1], O_RDWR), output = open(words[2], O_RDWR), picture = open(words[5], O_RDONLY);
    if (camera < 0) fail(words[1]);
    if (output < 0) fail(words[2]);
    if (picture < 0) fail(words[5]);
    set(camera, "Loop Video", 1);
    set(camera, "OSD Text Mode", 2);
    close(camera);

    struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT};
    ask(output, VIDIOC_G_FMT, &format, "format");
    memcpy(&format.fmt.pix.pixelformat, words[3], 4);
    format.fmt.pix.bytesperline = 0;
    format.fmt.pix.colorspace = atoi(words[4]);
    format.fmt.pix.ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;
    format.fmt.pix.quantization = V4L2_QUANTIZATION_DEFAULT;
    // The last holder may not have gone yet.
    for (int tries = 0; ioctl(output, VIDIOC_S_FMT, &format) < 0; tries++) {
        if (errno != EBUSY || tries == 500) fail("set format");
        usleep(10000);
    }
    struct v4l2_pix_format *pix = &format.fmt.pix;
    if (memcmp(&pix->pixelformat, words[3], 4) != 0 || pix->colorspace != (unsigned)atoi(words[4])) {
        fprintf(stderr, "inject: the output takes another format\n");
        return 2;
    }

    struct v4l2_requestbuffers buffers = {.count = 4, .type = format.type, .memory = V4L2_MEMORY_MMAP};
    ask(output, VIDIOC_REQBUFS, &buffers, "buffers");
    for (unsigned i = 0; i < buffers.count; i++) {
        struct v4l2_buffer buffer = {.index = i, .type = format.type, .memory = V4L2_MEMORY_MMAP};
        ask(output, VIDIOC_QUERYBUF, &buffer, "buffer");
        void *memory = mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, output, buffer.m.offset);
        if (memory == MAP_FAILED) fail("map");
        ssize_t bytes = pread(picture, memory, buffer.length, 0);
        if (bytes != (ssize_t)pix->sizeimage) {
            fprintf(stderr, "inject: %s has %zd bytes, the output takes %u (%u x %u)\n", words[5], bytes,
                    pix->sizeimage, pix->width, pix->height);
            return 2;
        }
        buffer.bytesused = bytes;
        buffer.field = pix->field;
        ask(output, VIDIOC_QBUF, &buffer, "queue");
    }
    int type = format.type;
    ask(output, VIDIOC_STREAMON, &type, "start");
    pid_t holder = fork();
    if (holder < 0) fail("fork");
    if (holder > 0) {
        printf("%d\n", (int)holder);
        return 0;
    }
    // Whoever reads the number waits for the end of standard output.
    for (int i = 0; i < 3; i++) close(i);
    // The last queued picture stays on the output until it is closed.
    pause();
    return 0;
}
