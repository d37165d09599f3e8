// Times llama.cpp on one model file and prints one line of JSON. Built and called by ../llamacpp.py.
//
//   harness decoder FILE --isa ISA --threads N --repack 0|1 [--prefill 256] [--depth 300] [--generate 32] [--rounds 3]
//   harness vision FILE --isa ISA --threads N [--rounds 3]
//
// The definitions are llama-bench's: prefill is one llama_decode of random tokens with logits of the last one only;
// generation is single-token decodes after `depth` tokens. f16 keys and values, flash attention as llama.cpp chooses.
// Exit codes: 0 done, 1 llama.cpp refused or computed something that is not finite, 2 bad arguments or the wrong ISA.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "clip.h"
#include "clip-impl.h"
#include "ggml-cpu.h"
#include "llama.h"

static void fail(int code, const std::string & message) {
    fprintf(stderr, "harness: %s\n", message.c_str());
    exit(code);
}

static double now_ms() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

// Wall clock and the CPU time of all threads. Threads wait spinning, so CPU / wall below the number of threads means that
// something else was running.
struct Span {
    double ms = 0, cpu_ms = 0;
    double cores() const { return cpu_ms / ms; }
};

template <class F> static Span timed(F && work) {
    const double ms = now_ms(), cpu = 1e3 * clock() / CLOCKS_PER_SEC;
    work();
    return {now_ms() - ms, 1e3 * clock() / CLOCKS_PER_SEC - cpu};
}

// The median of several.
template <class F> static Span timed(int rounds, F && work) {
    std::vector<Span> passes;
    for (int i = 0; i < rounds; i++) {
        passes.push_back(timed(work));
    }
    std::sort(passes.begin(), passes.end(), [](const Span & a, const Span & b) { return a.ms < b.ms; });
    return passes[rounds / 2];
}

// Not getrusage: its maximum outlives exec, so that it could be the calling script's.
static double peak_rss_mb() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) == 0) {
            return atof(line.c_str() + 6) / 1024;
        }
    }
    return 0;
}

// The libraries are linked statically, so what ggml was compiled for here is what runs.
static void require_isa(const std::string & isa) {
    const bool wide = ggml_cpu_has_avx512() && ggml_cpu_has_avx512_vnni();
    const bool any_wide = ggml_cpu_has_avx512() || ggml_cpu_has_avx512_vnni() || ggml_cpu_has_avx_vnni();
    const bool base = ggml_cpu_has_avx2() && ggml_cpu_has_fma() && ggml_cpu_has_f16c() && ggml_cpu_has_bmi2();
    const bool as_asked = isa == "avx2" ? base && !any_wide : isa == "avx512vnni" && base && wide;
    if (!as_asked || ggml_cpu_has_amx_int8()) {
        fail(2, "ggml does not run " + isa + " but: " + llama_print_system_info());
    }
}

// Only what matters for judging a run; the rest of llama.cpp's log is hundreds of lines.
static void log_problems(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static void check_finite(const float * x, size_t n, const char * what) {
    if (x == nullptr || !std::all_of(x, x + n, [](float v) { return std::isfinite(v); })) {
        fail(1, std::string(what) + " are not finite");
    }
}

static std::vector<llama_token> random_tokens(int n, int n_vocab) {
    std::vector<llama_token> tokens(n);
    for (auto & t : tokens) {
        t = rand() % n_vocab;
    }
    return tokens;
}

static void decode(llama_context * ctx, std::vector<llama_token> tokens) {
    if (llama_decode(ctx, llama_batch_get_one(tokens.data(), (int) tokens.size())) != 0) {
        fail(1, "llama_decode failed");
    }
    llama_synchronize(ctx);
}

static void decoder(const char * file, int threads, bool repack, int prefill, int depth, int generate,
    int rounds) {
    llama_model_params mp = llama_model_default_params();
    mp.use_extra_bufts = repack;
    llama_model * model = nullptr;
    const Span load = timed([&] { model = llama_model_load_from_file(file, mp); });
    if (model == nullptr) {
        fail(1, std::string("cannot load ") + file);
    }
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = 1024;
    cp.n_ubatch = 512;
    cp.n_threads = cp.n_threads_batch = threads;
    llama_context * ctx = llama_init_from_model(model, cp);
    if (ctx == nullptr) {
        fail(1, "cannot make a context");
    }
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    // This pass is the depth of the generation and warms everything up for the prefill.
    decode(ctx, random_tokens(depth, n_vocab));
    decode(ctx, random_tokens(1, n_vocab));
    const std::vector<llama_token> next = random_tokens(generate, n_vocab);
    const llama_memory_t memory = llama_get_memory(ctx);
    const Span step = timed(rounds, [&] {
        if (!llama_memory_seq_rm(memory, 0, depth + 1, -1)) {
            fail(1, "cannot go back to the depth of the generation");
        }
        for (llama_token t : next) {
            decode(ctx, {t});
        }
    });
    check_finite(llama_get_logits_ith(ctx, -1), n_vocab, "logits");
    const std::vector<llama_token> prompt = random_tokens(prefill, n_vocab);
    const Span pass = timed(rounds, [&] {
        llama_memory_clear(memory, false);
        decode(ctx, prompt);
    });
    check_finite(llama_get_logits_ith(ctx, -1), n_vocab, "logits");
    printf("{\"load_ms\":%.1f,\"prefill_tok_s\":%.3f,\"prefill_cores\":%.2f,\"decode_tok_s\":%.3f,\"decode_cores\":%.2f,"
           "\"peak_rss_mb\":%.0f,\"system\":\"%s\"}\n",
        load.ms, prefill * 1e3 / pass.ms, pass.cores(), generate * 1e3 / step.ms, step.cores(), peak_rss_mb(),
        llama_print_system_info());
}

// Through the encoder call that mtmd uses itself: its public entry would need a vocabulary and a text model besides.
static void vision(const char * file, int threads, int rounds) {
    clip_context_params cp = {};
    cp.flash_attn_type = CLIP_FLASH_ATTN_TYPE_AUTO;
    cp.image_min_tokens = cp.image_max_tokens = -1;
    cp.warmup = true;  // where mtmd decides about flash attention
    clip_ctx * ctx = nullptr;
    const Span load = timed([&] { ctx = clip_init(file, cp).ctx_v; });
    if (ctx == nullptr) {
        fail(1, std::string("cannot load ") + file);
    }
    const int side = 224;
    std::vector<float> pixels((size_t) side * side * 3);
    for (auto & x : pixels) {
        x = rand() / (RAND_MAX / 2.0f) - 1;
    }
    clip_image_f32 image;
    image.set_size({side, side}, false, false);
    image.cpy_buf(pixels);
    std::vector<float> out((size_t) clip_n_output_tokens(ctx, &image) * clip_n_mmproj_embd(ctx));
    const auto encode = [&] {
        if (!clip_image_encode(ctx, threads, &image, out)) {
            fail(1, "clip_image_encode failed");
        }
    };
    // The first pass touches memory for the first time.
    encode();
    const Span pass = timed(rounds, encode);
    check_finite(out.data(), out.size(), "image tokens");
    printf("{\"load_ms\":%.1f,\"ms\":%.1f,\"cores\":%.2f,\"tokens\":%d,\"width\":%d,"
           "\"peak_rss_mb\":%.0f,\"system\":\"%s\"}\n",
        load.ms, pass.ms, pass.cores(), clip_n_output_tokens(ctx, &image), clip_n_mmproj_embd(ctx), peak_rss_mb(),
        llama_print_system_info());
}

int main(int argc, char ** argv) {
    if (argc < 3 || argc % 2 == 0) {
        fail(2, "usage: harness decoder|vision FILE --isa ISA --threads N [options, see the source]");
    }
    std::string isa;
    int threads = 1, repack = 1, prefill = 256, depth = 300, generate = 32, rounds = 3;
    for (int i = 3; i < argc; i += 2) {
        const std::string name = argv[i];
        int * number = name == "--threads" ? &threads : name == "--repack" ? &repack : name == "--prefill" ? &prefill
            : name == "--depth" ? &depth : name == "--generate" ? &generate : name == "--rounds" ? &rounds : nullptr;
        if (name == "--isa") {
            isa = argv[i + 1];
        } else if (number == nullptr) {
            fail(2, "unknown option " + name);
        } else {
            *number = atoi(argv[i + 1]);
        }
    }
    const auto within = [](int n, int most) { return 1 <= n && n <= most; };
    const bool tokens_fit = within(prefill, 512) && within(depth, 512) && within(generate, 256);
    if (!tokens_fit || !within(threads, 512) || !within(rounds, 99)) {
        fail(2, "a number is out of range");
    }
    llama_log_set(log_problems, nullptr);
    mtmd_log_set(log_problems, nullptr);
    require_isa(isa);
    llama_backend_init();
    if (strcmp(argv[1], "decoder") == 0) {
        decoder(argv[2], threads, repack != 0, prefill, depth, generate, rounds);
    } else if (strcmp(argv[1], "vision") == 0) {
        vision(argv[2], threads, rounds);
    } else {
        fail(2, std::string("neither decoder nor vision: ") + argv[1]);
    }
    return 0;
}
