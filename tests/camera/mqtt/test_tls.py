"""TLS to the broker, with authorities made for the occasion."""

import subprocess
import unittest

from rig import Rig, lines, wait


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


class Tls(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)
        self.at = self.rig.path
        for authority in ("good", "other"):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}", cwd=self.at)
        for name in ("broker", "client"):
            openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                    "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=self.at)
            (self.at / "names").write_text("subjectAltName=DNS:localhost\n")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "good.pem", "-CAkey", "good.key", "-CAcreateserial",
                    "-days", "1", "-extfile", "names", "-out", f"{name}.pem", cwd=self.at)

    def broker(self, more=""):
        own = f"certfile {self.at}/broker.pem\nkeyfile {self.at}/broker.key\n{more}"
        return self.rig.broker(f"allow_anonymous true\n{own}")

    def daemon(self, host="localhost", ca="good.pem", more=""):
        return self.rig.daemon(f'host = "{host}"\n[mqtt.tls]\nca = "{self.at}/{ca}"\n{more}')

    def test_a_broker_with_a_good_certificate_is_talked_to(self):
        broker = self.broker()
        daemon = self.daemon()
        wait(lambda: "connected to the broker" in daemon.said(), daemon.said())
        # Pictures too pass through it.
        wait(lambda: "'pg-camera/door/snapshot'" in broker.said(), "a picture")
        self.assertEqual(daemon.stop(), 0)

    def test_others_are_not(self):
        self.broker()
        for host, ca, words in [
            ("localhost", "other.pem", "TLS: invalid peer certificate"),
            ("127.0.0.1", "good.pem", "TLS: invalid peer certificate"),
            ("localhost", "names", "there is no certificate in the file"),
            ("localhost", "absent.pem", "absent.pem"),
        ]:
            with self.subTest(host=host, ca=ca):
                daemon = self.daemon(host, ca)
                wait(lambda: words in daemon.said(), daemon.said())
                self.assertNotIn("connected to the broker", daemon.said())
                before = len(lines(daemon))
                wait(lambda: len(lines(daemon)) > before, "the daemon to go on")
                daemon.kill()
                daemon.errors.unlink()

    def test_a_client_certificate_is_shown_if_wanted(self):
        self.broker(f"cafile {self.at}/good.pem\nrequire_certificate true\n")
        daemon = self.daemon()
        wait(lambda: "MQTT: " in daemon.said(), "a refusal")
        self.assertNotIn("connected to the broker", daemon.said())
        daemon.kill()
        daemon.errors.unlink()
        daemon = self.daemon(more=f'certificate = "{self.at}/client.pem"\nkey = "{self.at}/client.key"\n')
        wait(lambda: "connected to the broker" in daemon.said(), daemon.said())


if __name__ == "__main__":
    unittest.main()
