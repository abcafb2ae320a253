// node-routeros against the lab: PORT USER PASSWORD HOST-THAT-ANSWERS.
const assert = require('node:assert');
const { RouterOSAPI } = require('node-routeros');

const [port, user, password, host] = process.argv.slice(2);
const client = (secret) => new RouterOSAPI({ host: '127.0.0.1', port: Number(port), user, password: secret, timeout: 5 });

async function main() {
    await assert.rejects(client('wrong').connect(), (error) => error.errno === 'CANTLOGIN');
    const api = client(password);
    await api.connect();
    assert.deepStrictEqual(await api.write('/system/identity/print'), [{ name: 'core' }]);
    const [added] = await api.write('/ip/firewall/address-list/add', ['=list=suspended', '=address=10.7.3.6']);
    const [row] = await api.write('/ip/firewall/address-list/print', ['?list=suspended']);
    assert.strictEqual(row['.id'], added.ret);
    assert.strictEqual(row.address, '10.7.3.6');
    await api.write('/ip/firewall/address-list/remove', ['=.id=' + added.ret]);
    await assert.rejects(api.write('/nosuch/print'), /no such command/);
    const echoes = await api.write('/ping', ['=address=' + host, '=count=2', '=interval=50ms']);
    assert.deepStrictEqual(echoes.map((echo) => echo.received), ['1', '2']);
    // A ping without end is a stream, and stopping it is a cancel.
    await new Promise((resolve, reject) => {
        let heard = 0;
        const stream = api.stream('/ping', ['=address=' + host, '=interval=50ms'], (error) => {
            if (error) return reject(error);
            heard += 1;
            if (heard === 3) stream.stop().then(resolve, reject);
        });
    });
    assert.deepStrictEqual(await api.write('/system/identity/print'), [{ name: 'core' }]);
    await api.close();
    console.log('node-routeros is content');
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
